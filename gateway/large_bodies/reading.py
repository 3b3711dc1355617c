"""What the gateway goes by of a JSON body, so that it need not hold the body parsed."""

import marshal
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway import splice
from gateway.json_body import parse
from gateway.resources import Owned, models_named_in, named_in
from gateway.usage import estimate_input_tokens
from openapi.validation import Validator, schemas_of

if TYPE_CHECKING:
    from gateway.call import Call

LARGE = 1_000_000
"""Bytes above which a body is read in the worker process."""

LENGTH = struct.Struct(">Q")
"""What goes before each frame between the two processes."""

SMALL_MEMBER = 4096
"""Bytes up to which a member of the body is kept."""

EDITS: dict[str, Callable[[bytes, dict[str, Any]], list[splice.Edit]]] = {
    "create_message": partial(splice.message_edits, stream=None),
    "create_async_message": partial(splice.message_edits, stream=None),
    "stream_message": partial(splice.message_edits, stream=True),
    "count_tokens": partial(splice.message_edits, stream=None, count=True),
    "create_batch": splice.batch_edits,
}
"""What the envelope's allowances change in the bodies of operations (docs/adr/0003)."""


class Question(NamedTuple):
    """What is to be read.

    Attributes:
        dialect: whose contract the schema is of.
        schema: of the body, or None when nothing judges it.
        enforce: a violation ends the reading: nothing further will be asked of the body.
        operation: the operationId.
    """

    dialect: str
    schema: dict[str, Any] | None
    enforce: bool
    operation: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A body as it was read.

    Attributes:
        payload: of an object, the members that are small; else None.
        violation: how it breaks the contract.
        models: every model that it names.
        named: the resources that it names.
        input_tokens: an estimate of its prompt.
        edits: what makes it a body in Anthropic's own shape.
    """

    payload: dict[str, Any] | None
    violation: str | None
    models: list[str]
    named: set[Owned]
    input_tokens: int
    edits: list[splice.Edit]


def read(question: Question, raw: bytes) -> Reading:
    """Parse and judge a body.

    Raises:
        BadRequest: it is no JSON.
    """
    value = parse(raw)
    violation = None
    if question.schema is not None:
        fault = _validator(question).error(value)
        violation = None if fault is None else str(fault)
    if violation is not None and question.enforce:
        return Reading(None, violation, [], set(), 0, [])
    is_object = isinstance(value, dict)
    edits = EDITS.get(question.operation)
    return Reading(
        _small_members(value) if is_object else None,
        violation,
        list(dict.fromkeys(models_named_in(value))),
        named_in(value),
        estimate_input_tokens(value, len(raw)) if is_object else 0,
        edits(raw, value) if edits is not None else [],
    )


_validators: dict[str, Validator] = {}


def _validator(question: Question) -> Validator:
    """What judges the bodies of an operation, made once: each question brings a copy of the schema."""
    if question.operation not in _validators:
        assert question.schema is not None
        _validators[question.operation] = schemas_of(question.dialect).validator(question.schema)
    return _validators[question.operation]


def upstream_body(call: "Call") -> bytes:
    """The body of an envelope call in Anthropic's own shape."""
    assert call.operation is not None
    if call.reading is not None:
        return splice.apply(call.body, call.reading.edits)
    return splice.apply(call.body, EDITS[call.operation.id](call.body, call.payload))


def _small_members(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if len(marshal.dumps(value)) <= SMALL_MEMBER}
