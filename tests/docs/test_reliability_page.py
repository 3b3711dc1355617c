"""docs/reliability.md tells what the fault tests saw."""

import json

import pytest

from tools import reliability_page


def test_the_tables_are_fresh() -> None:
    page = reliability_page.PAGE.read_text()
    rows = json.loads(reliability_page.KEPT.read_text())

    assert reliability_page.render(page, rows) == page, "run make docs"


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="the page must hold"):
        reliability_page.render("# When something fails\n", [])


def test_one_outcome_is_told_once() -> None:
    row = {"part": "host", "fault": "noise", "outcomes": {"native": "200", "envelope": "200"}}
    row |= {"booked": "exact", "metrics": []}
    page = "".join(f"<!-- table: {part} -->\n<!-- end of table -->\n" for part in reliability_page.PARTS)

    assert "| noise | 200 | exact | nothing |\n" in reliability_page.render(page, [row])


def test_each_row_has_its_test() -> None:
    tests = "".join(file.read_text() for file in reliability_page.FAULTS.glob("*.py"))

    assert [
        row["fault"] for row in json.loads(reliability_page.KEPT.read_text()) if row["fault"] not in tests
    ] == []
