"""Words for what is wrong with a value, made from the schema's side of it and never from the value itself.

Prompts must not reach a log or another tenant's screen, so of the value only its type and size are told.
"""

import itertools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

_TYPE_NAMES = (
    (bool, "boolean"),
    (int, "integer"),
    (str, "string"),
    (list, "array"),
    (dict, "object"),
    (type(None), "null"),
)

# By JSON Schema keyword. In braces: what the keyword demands, and of the value its type and size.
_REASONS = {
    "additionalProperties": "unknown property {unexpected}",
    "anyOf": "fits none of the forms allowed here",
    "enum": "must be {choice}{options}",
    "exclusiveMaximum": "must be less than {limit}",
    "exclusiveMinimum": "must be more than {limit}",
    "format": "must be a {format} (RFC 3339)",
    "maxItems": "must have at most {limit} items, has {size}",
    "maxLength": "must have at most {limit} characters, has {size}",
    "maxProperties": "must have at most {limit} properties, has {size}",
    "maximum": "must be at most {limit}",
    "minItems": "must have at least {limit} items, has {size}",
    "minLength": "must have at least {limit} characters, has {size}",
    "minProperties": "must have at least {limit} properties, has {size}",
    "minimum": "must be at least {limit}",
    "multipleOf": "must be a multiple of {multiple_of}",
    "not": "is not allowed here",
    "oneOf": "does not fit exactly one of the forms allowed here",
    "pattern": "must match {pattern}",
    "required": "'{property}' is a required property",
    "type": "must be {types}, not {type}",
    "uniqueItems": "must not have the same item twice",
}

# Characters. Pointer and reason together keep the line under 200.
_MAX_POINTER = 96
_MAX_REASON = 96
_MAX_LIST = 60
_SPEAKABLE = re.compile(r"[A-Za-z0-9_.\-]{1,40}")  # a key that reads like a field's name, not like content
_UNSPOKEN = "…"


@dataclass(frozen=True, slots=True)
class Violation:
    """One fault of a value; `str()` is one line of less than 200 characters.

    Attributes:
        pointer: where, as a JSON pointer (RFC 6901); keys that may be content are shown as `…`.
        reason: what is wrong there.
    """

    pointer: str
    reason: str

    def __str__(self) -> str:
        return f"{self.pointer}: {self.reason}" if self.pointer else self.reason


def describe(path: Sequence[str | int], keyword: str, demand: dict[str, Any], value: Any) -> Violation:
    """Put a failed keyword into words.

    Args:
        path: keys and indices from the whole value to the faulty part.
        keyword: the JSON Schema keyword that failed.
        demand: what it asked for, by the names of `jsonschema_rs.ValidationErrorKind`.
        value: the faulty part.
    """
    unexpected = (name if _SPEAKABLE.fullmatch(name) else _UNSPOKEN for name in demand.get("unexpected", ()))
    told = {
        **demand,
        "type": _type_name(value),
        "size": len(value) if isinstance(value, str | list | dict) else 0,
        "types": " or ".join(sorted(demand.get("types", ()))),
        "choice": "one of " if len(demand.get("options", ())) > 1 else "",
        "options": _list(demand.get("options", ())),
        "unexpected": _list(unexpected),
    }
    reason = _REASONS.get(keyword, "does not fit its schema").format_map(told)
    if len(reason) > _MAX_REASON:
        reason = reason[: _MAX_REASON - 1] + _UNSPOKEN
    return Violation(_pointer(path), reason)


def _list(values: Iterable[Any]) -> str:
    """As many of the values as are quick to read, and how many more there are."""
    shown = [json.dumps(value, ensure_ascii=False) for value in values]
    width = itertools.accumulate(len(text) + 2 for text in shown)
    kept = sum(1 for _ in itertools.takewhile(lambda total: total <= _MAX_LIST, width))
    more = len(shown) - kept
    return ", ".join(shown[:kept]) + (f" … ({more} more)" if more else "")


def _pointer(path: Sequence[str | int]) -> str:
    members = (member if _SPEAKABLE.fullmatch(member) else _UNSPOKEN for member in map(str, path))
    pointer = "".join(f"/{member}" for member in members)
    half = _MAX_POINTER // 2
    return pointer if len(pointer) <= _MAX_POINTER else f"{pointer[:half]}{_UNSPOKEN}{pointer[1 - half :]}"


def _type_name(value: Any) -> str:
    return next((name for kind, name in _TYPE_NAMES if isinstance(value, kind)), "number")
