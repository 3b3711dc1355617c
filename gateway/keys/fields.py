"""From the fields of `POST /api/v1/keys` to the columns of the table."""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from gateway.errors import BadRequest
from gateway.keys.key import BUDGET, LIMITS, SCOPES
from gateway.prices import nanodollars

LONGEST_NAME = 64

_NAME = re.compile(r"[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?")


def columns_of(
    fields: Mapping[str, Any], limits: dict[str, int | None], budget: dict[str, int | None]
) -> dict[str, Any]:
    """The table's columns for fields of the API.

    Args:
        fields: what the caller gave.
        limits: the limits that the key has; what is given is laid over them.
        budget: its budget, likewise.

    Raises:
        BadRequest: a field is unknown or wrong.
    """
    columns: dict[str, Any] = {}
    for name, value in fields.items():
        match name:
            case "name":
                columns[name] = _check_name(value)
            case "scopes":
                columns[name] = json.dumps(_check_scopes(value))
            case "models":
                columns[name] = json.dumps(_check_models(value))
            case "expires_at":
                columns[name] = _check_time(value)
            case "limits":
                columns[name] = json.dumps({**limits, **_check_limits(value)})
            case "budget":
                columns[name] = json.dumps({**budget, **_check_budget(value)})
            case _:
                raise BadRequest(f"a key has no {name}")
    return columns


def _check_name(value: object) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_NAME or not _NAME.fullmatch(value):
        raise BadRequest(f"name must be 1 to {LONGEST_NAME} characters, none a control character")
    return value


def _check_scopes(value: object) -> list[str]:
    if not isinstance(value, list | tuple) or not value or not set(value) <= set(SCOPES):
        raise BadRequest(f"scopes must be some of {', '.join(SCOPES)}")
    return [scope for scope in SCOPES if scope in value]


def _check_models(value: object) -> list[str]:
    if isinstance(value, list | tuple) and all(isinstance(item, str) and item for item in value):
        return list(value)
    raise BadRequest("models must be a list of model ids, in which * stands for any characters")


def _check_time(value: object) -> int | None:
    """Milliseconds of an RFC 3339 time."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        moment = None
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise BadRequest("expires_at must be a time with its zone, such as 2027-01-31T12:00:00Z")
    return int(moment.timestamp() * 1000)


def _check_limits(value: object) -> dict[str, int | None]:
    limits = _members("limits", value, LIMITS)
    for name, limit in limits.items():
        if limit is not None and (type(limit) is not int or limit < 1):
            raise BadRequest(f"limits.{name} must be a whole number of at least 1, or null")
    return limits


def _check_budget(value: object) -> dict[str, int | None]:
    budget = {}
    for name, amount in _members("budget", value, BUDGET).items():
        # By way of its shortest decimal form: 0.1 means ten cents, not the binary fraction next to it.
        exact = Decimal(str(amount)) if type(amount) in {int, float} or isinstance(amount, Decimal) else None
        if amount is not None and (exact is None or not exact.is_finite() or exact < 0):
            raise BadRequest(f"budget.{name} must be an amount of dollars of at least 0, or null")
        budget[BUDGET[name]] = None if exact is None else nanodollars(exact)
    return budget


def _members(name: str, value: object, known: Iterable[str]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise BadRequest(f"{name} must be an object")
    unknown = set(value) - set(known)
    if unknown:
        raise BadRequest(f"{name} has no {', '.join(sorted(map(str, unknown)))}")
    return dict(value)
