"""docs/coverage.md tells which operation serves each method of the SDK."""

import re

import pytest

from tools import coverage_page
from tools.sdk_operations import operations


def test_the_page_is_fresh() -> None:
    page = coverage_page.PAGE.read_text(encoding="utf-8")

    assert coverage_page.render(page) == page, "run make docs"


def test_the_page_names_every_method_of_the_sdk() -> None:
    page = coverage_page.PAGE.read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`.*?`) \|", page, re.MULTILINE)
    named = {name.strip("`") for cell in cells for name in cell.split("<br>")}

    assert named == {method.name for one in operations() for method in (*one.methods, *one.helpers)}


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="the page must hold"):
        coverage_page.render("# Coverage\n")
