"""docs/errors.md says of each error what the code does."""

import re
from pathlib import Path

from gateway import errors

PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
ROW = re.compile(r"^\| (?P<status>\d{3}) \| `(?P<name>\w+)` \| `(?P<type>\w+)` \|", re.MULTILINE)


def subclasses(kind: type[errors.GatewayError]) -> set[type[errors.GatewayError]]:
    return {kind}.union(*(subclasses(child) for child in kind.__subclasses__()))


def test_each_row_is_what_both_dialects_say() -> None:
    rows = [(int(row["status"]), row["name"], row["type"]) for row in ROW.finditer(PAGE)]
    assert rows == [(status, errors.error_class(status), errors.error_type(status)) for status, _, _ in rows]


def test_every_status_of_the_gateway_has_a_row() -> None:
    told = {int(row["status"]) for row in ROW.finditer(PAGE)}
    assert {kind.status for kind in subclasses(errors.GatewayError)} <= told
