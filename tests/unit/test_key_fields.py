"""The command line and the contract refuse the same fields: `gateway.keys.fields` against the bundle."""

import json
from typing import Any

import pytest

import openapi
from gateway.errors import BadRequest, Conflict
from gateway.keys import SCOPES
from gateway.keys.fields import columns_of
from gateway.keys.key import BUDGET, LIMITS, Limits
from openapi.validation import Schemas

NOW = 1_800_000_000_000
BUNDLE = openapi.load("envelope")
CREATE = BUNDLE["components"]["schemas"]["CreateKeyRequest"]
VALIDATOR = Schemas(BUNDLE).validator(CREATE)

GOOD: list[dict[str, Any]] = [
    {"name": "kitchen"},
    {"name": "Küche im Keller"},
    {"name": "厨房 🍲"},
    {"name": "k" * 64},
    {"name": "a-b_c.d/e"},
    {"name": "x", "scopes": list(SCOPES)},
    {"name": "x", "models": []},
    {"name": "x", "models": ["*", "anthropic.claude-v2:1", "claude-opus@20240229", "a" * 128]},
    {"name": "x", "expires_at": None},
    {"name": "x", "expires_at": "2999-12-31T23:59:60Z"},
    {"name": "x", "limits": dict.fromkeys(LIMITS, 1)},
    {"name": "x", "limits": dict.fromkeys(LIMITS, 10**12)},
    {"name": "x", "limits": dict.fromkeys(LIMITS)},
    {"name": "x", "budget": dict.fromkeys(BUDGET, 0)},
    {"name": "x", "budget": dict.fromkeys(BUDGET, 10**9)},
    {"name": "x", "budget": dict.fromkeys(BUDGET)},
]
BAD: list[dict[str, Any]] = [
    {"name": ""},
    {"name": " x"},
    {"name": "x "},
    {"name": "x  y"},
    {"name": "x\ty"},
    {"name": "x\u00a0y"},
    {"name": "x\u2028y"},
    {"name": "x\x7fy"},
    {"name": "x\u009by"},
    {"name": "\ufeffx"},
    {"name": "k" * 65},
    {"name": "x", "id": "key_x"},
    {"name": "x", "scopes": []},
    {"name": "x", "scopes": ["any"]},
    {"name": "x", "models": ["a" * 129]},
    {"name": "x", "models": ["claude-?"]},
    {"name": "x", "models": ["claude-[ab]"]},
    {"name": "x", "models": [""]},
    {"name": "x", "models": ["*"] * 101},
    {"name": "x", "expires_at": "2999-12-31"},
    {"name": "x", "limits": {LIMITS[0]: 0}},
    {"name": "x", "limits": {LIMITS[0]: 10**12 + 1}},
    {"name": "x", "limits": {LIMITS[0]: True}},
    {"name": "x", "budget": {"usd_per_day": -1e-9}},
    {"name": "x", "budget": {"usd_per_day": 10**9 + 0.01}},
]


@pytest.mark.parametrize("fields", GOOD)
def test_both_take_what_is_right(fields: dict[str, Any]) -> None:
    assert VALIDATOR.error(fields) is None
    assert columns_of(fields, {}, {}, NOW)["name"] == fields["name"]


@pytest.mark.parametrize("fields", BAD)
def test_both_refuse_what_is_wrong(fields: dict[str, Any]) -> None:
    assert VALIDATOR.error(fields) is not None
    with pytest.raises(BadRequest):
        columns_of(fields, {}, {}, NOW)


def test_they_know_the_same_names() -> None:
    schemas = BUNDLE["components"]["schemas"]
    assert tuple(schemas["KeyScope"]["enum"]) == SCOPES
    assert tuple(schemas["KeyLimits"]["properties"]) == LIMITS
    assert tuple(schemas["KeyBudget"]["properties"]) == tuple(BUDGET)
    assert schemas["UpdateKeyRequest"]["properties"].keys() == CREATE["properties"].keys()


@pytest.mark.parametrize("milliseconds", [0, 1])
def test_a_key_expires_in_the_future(milliseconds: int) -> None:
    fields = {"name": "x", "expires_at": f"2027-01-15T08:00:00.00{milliseconds}Z"}

    assert columns_of(fields, {}, {}, NOW - 1)["expires_at"] == NOW + milliseconds
    with pytest.raises(Conflict, match="a time to come"):
        columns_of(fields, {}, {}, NOW + milliseconds)


def test_a_surrogate_from_the_command_line_is_refused() -> None:
    with pytest.raises(BadRequest, match="name must be"):
        columns_of({"name": "k\udcfcche"}, {}, {}, NOW)


def test_a_budget_of_nothing_is_not_one_without_an_end() -> None:
    columns = columns_of({"budget": {"usd_per_day": 0, "usd_per_month": None}}, {}, {}, NOW)
    assert json.loads(columns["budget"]) == {"day": 0, "month": None}


@pytest.mark.parametrize("name", LIMITS)
def test_any_limit_alone_is_one(name: str) -> None:
    assert Limits().unlimited
    assert not Limits(**{name: 1}).unlimited
