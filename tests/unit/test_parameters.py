"""The query of a request: closed where it is ours, open where it goes on to upstream."""

from typing import Any

import pytest

from gateway.errors import BadRequest
from gateway.parameters import Parameters
from openapi.validation import Schemas

SPECS: tuple[dict[str, Any], ...] = (
    {"in": "query", "name": "limit", "schema": {"type": "integer", "minimum": 1, "default": 20}},
    {"in": "query", "name": "deep", "schema": {"type": "boolean"}},
    {"in": "query", "name": "since", "schema": {"type": "string", "format": "date-time"}, "required": True},
    {"in": "query", "name": "ids[]", "schema": {"type": "array", "items": {"type": "string"}}},
    {
        "in": "query",
        "name": "group_by",
        "explode": False,
        "schema": {"type": "array", "items": {"type": "string", "enum": ["key", "day"]}},
    },
)
SINCE = b"since=2026-10-21T09:30:00Z"


def parameters(*, closed: bool) -> Parameters:
    return Parameters(SPECS, Schemas({"openapi": "3.0.3", "paths": {}}), closed=closed)


@pytest.mark.parametrize("closed", [True, False])
def test_values_have_the_types_of_their_schemas(closed: bool) -> None:
    query = b"&ids%5B%5D=a&limit=5&deep=true&ids%5B%5D=b%20c&group_by=key,day"

    got = parameters(closed=closed).query(SINCE + query)

    assert got == {
        "since": "2026-10-21T09:30:00Z",
        "ids[]": ["a", "b c"],
        "limit": 5,
        "deep": True,
        "group_by": ["key", "day"],
    }


def test_defaults_are_filled_in() -> None:
    assert parameters(closed=True).query(SINCE)["limit"] == 20


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize(
    ("query", "message"),
    [
        (b"limit=1", "query parameter since: is required"),
        (b"since=yesterday", "query parameter since: "),
        (SINCE + b"&limit=null", "query parameter limit: "),
        (SINCE + b"&limit=0", "query parameter limit: "),
        (SINCE + b"&limit=5&limit=null", "query parameter limit: "),
        (SINCE + b"&deep=1", "query parameter deep: "),
        (SINCE + b"&ids%5B%5D=a%00b", "query parameter ids[]: must not contain NUL"),
        (SINCE + b"&group_by=key,colour", "query parameter group_by: "),
        (SINCE + b"&ids%5B%5D=%FF", "the query is not valid UTF-8"),
    ],
)
def test_a_wrong_query_is_refused_by_name(query: bytes, message: str, closed: bool) -> None:
    with pytest.raises(BadRequest) as refusal:
        parameters(closed=closed).query(query)

    assert str(refusal.value).startswith(message)


def test_only_a_closed_query_refuses_what_is_unknown_or_repeated() -> None:
    ours, upstreams = parameters(closed=True), parameters(closed=False)

    for query, message in ((b"&colour=red", "colour: unknown"), (b"&limit=5&limit=6", "limit: given twice")):
        with pytest.raises(BadRequest, match=message):
            ours.query(SINCE + query)
    assert upstreams.query(SINCE + b"&colour=red&limit=5&limit=6")["limit"] == 6


def test_an_open_query_of_which_nothing_is_read_may_be_anything() -> None:
    assert Parameters((), Schemas({}), closed=False).query(b"x=%FF") == {}
