"""From the fields of `POST /api/v1/keys` to the columns of the table."""

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from gateway import rfc3339
from gateway.errors import BadRequest, Conflict
from gateway.keys.key import BUDGET, LIMITS, SCOPES
from gateway.prices import nanodollars

LONGEST_NAME = 64
LARGEST_LIMIT = 10**12
LARGEST_BUDGET = 10**9
MOST_MODELS = 100

_WORD = r"[^\s\x00-\x1f\x7f-\x9f\ufeff\ud800-\udfff]+"
_NAME = re.compile(f"{_WORD}(?: {_WORD})*")
_MODEL = re.compile(r"[A-Za-z0-9._:/@*-]{1,128}")


def columns_of(
    fields: Mapping[str, Any], limits: dict[str, int | None], budget: dict[str, int | None], now: int
) -> dict[str, Any]:
    """The table's columns for fields of the API.

    The contract says the same of them; here it holds for the command line too.

    Args:
        fields: what the caller gave.
        limits: the limits that the key has; what is given is laid over them.
        budget: its budget, likewise.
        now: milliseconds since 1970, which `expires_at` must lie after.

    Raises:
        BadRequest: a field is unknown or wrong.
        Conflict: `expires_at` has passed.
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
                columns[name] = _check_expiry(value, now)
            case "limits":
                columns[name] = json.dumps({**limits, **_check_limits(value)})
            case "budget":
                columns[name] = json.dumps({**budget, **_check_budget(value)})
            case _:
                raise BadRequest(f"a key has no {name}")
    return columns


def _check_name(value: object) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_NAME or not _NAME.fullmatch(value):
        raise BadRequest(f"name must be words with single blanks between, {LONGEST_NAME} characters at most")
    return value


def _check_scopes(value: object) -> list[str]:
    if not isinstance(value, list | tuple) or not value or not set(value) <= set(SCOPES):
        raise BadRequest(f"scopes must be some of {', '.join(SCOPES)}")
    return [scope for scope in SCOPES if scope in value]


def _check_models(value: object) -> list[str]:
    if (
        not isinstance(value, list | tuple)
        or len(value) > MOST_MODELS
        or not all(isinstance(item, str) and _MODEL.fullmatch(item) for item in value)
    ):
        raise BadRequest(
            f"models must be at most {MOST_MODELS} model ids, in which * stands for any characters"
        )
    return list(value)


def _check_expiry(value: object, now: int) -> int | None:
    """Milliseconds of an RFC 3339 time."""
    if value is None:
        return None
    try:
        moment = rfc3339.parse(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None:
        raise BadRequest("expires_at must be a time with its zone, such as 2027-01-31T12:00:00Z")
    milliseconds = rfc3339.milliseconds(moment)
    if milliseconds <= now:
        raise Conflict("expires_at must be a time to come")
    return milliseconds


def _check_limits(value: object) -> dict[str, int | None]:
    limits = _members("limits", value, LIMITS)
    for name, limit in limits.items():
        if limit is not None and (type(limit) is not int or not 1 <= limit <= LARGEST_LIMIT):
            raise BadRequest(f"limits.{name} must be a whole number from 1 to {LARGEST_LIMIT}, or null")
    return limits


def _check_budget(value: object) -> dict[str, int | None]:
    budget = {}
    for name, amount in _members("budget", value, BUDGET).items():
        # By way of its shortest decimal form: 0.1 means ten cents, not the binary fraction next to it.
        exact = Decimal(str(amount)) if type(amount) in {int, float} or isinstance(amount, Decimal) else None
        if amount is not None and (
            exact is None or not exact.is_finite() or not 0 <= exact <= LARGEST_BUDGET
        ):
            raise BadRequest(f"budget.{name} must be dollars from 0 to {LARGEST_BUDGET}, or null")
        budget[BUDGET[name]] = None if exact is None else nanodollars(exact)
    return budget


def _members(name: str, value: object, known: Iterable[str]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise BadRequest(f"{name} must be an object")
    unknown = set(value) - set(known)
    if unknown:
        raise BadRequest(f"{name} has no {', '.join(sorted(map(str, unknown)))}")
    return dict(value)
