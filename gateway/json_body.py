"""Read JSON: a caller's body so that it cannot mean one thing here and another upstream, and what upstream
answers so that nothing of it is lost.

Refused of a caller are: text that is not UTF-8, duplicate member names, lone surrogates, NaN, Infinity, and
numbers that overflow (RFC 8259 §4, §6, §8.1, §8.2 call all of these unpredictable).
"""

import contextlib
import json
import marshal
import math
import re
from typing import Any

import jiter

from gateway.errors import BadRequest

_INFINITE = re.compile(rb"g\0{6}\xf0[\x7f\xff]")
"""How `marshal` writes an infinite float, of either sign."""

_MARSHAL_VERSION = 2
"""From 3 on an object that is used twice is marked in the very byte that says it is a float."""


def parse(raw: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        BadRequest: it is none, or one that two readers may understand differently.
    """
    try:
        value = jiter.from_json(raw, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        raise BadRequest(f"the body is not valid JSON: {_reason(str(error))}") from None
    # A number too large for a float becomes infinite. Its bytes are found far quicker than by a walk.
    packed = marshal.dumps(value, _MARSHAL_VERSION)
    if _INFINITE.search(packed) and _has_infinity(value):
        raise BadRequest("the body is not valid JSON: a number is out of range")
    return value


def parse_answer(text: bytes) -> Any:
    """The value of what upstream said, a whole answer or a piece of one, None where it is no JSON.

    What the strict parser refuses, such as a lone surrogate, may be paid for all the same.
    """
    try:
        return jiter.from_json(text)
    except ValueError:
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(text)
    return None


def _reason(message: str) -> str:
    # The parser quotes a duplicate name, which is the caller's content.
    if message.startswith("Detected duplicate key"):
        return "duplicate key" + message[message.rindex('"') + 1 :]
    return message


def _has_infinity(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_infinity, value.values()))
    if isinstance(value, list):
        return any(map(_has_infinity, value))
    return isinstance(value, float) and math.isinf(value)
