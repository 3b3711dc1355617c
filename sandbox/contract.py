"""What the native spec says: its operations, and whether a request body fits.

Only the wording is made here, after Anthropic's own: `messages.0.role: Field required`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from openapi import load
from openapi.validation import Schemas, Validator, Violation
from sandbox.errors import invalid

_METHODS = ("get", "post", "put", "patch", "delete")
_TYPES = {
    "array": "list",
    "boolean": "boolean",
    "integer": "integer",
    "number": "number",
    "object": "dictionary",
    "string": "string",
}
_WRONG_TYPE = re.compile(r"must be (\w+), not \w+")
_REQUIRED = re.compile(r"'(.+)' is a required property")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the spec, its path as the caller sends it."""

    id: str
    method: str
    path: str
    spec: dict[str, Any]


class Contract:
    """The native bundle, its schemas compiled as they are asked for."""

    def __init__(self, bundle: dict[str, Any] | None = None) -> None:
        self._bundle = load("native") if bundle is None else bundle
        self._schemas = Schemas(self._bundle)
        self.operations = {operation.id: operation for operation in self._walk()}

    def _walk(self) -> Iterator[Operation]:
        base = self._bundle["servers"][0]["url"].rstrip("/")
        for path, item in self._bundle["paths"].items():
            for method in _METHODS:
                if method in item and "system" not in item[method]["tags"]:  # those are the gateway's own
                    spec = item[method]
                    yield Operation(spec["operationId"], method.upper(), base + path, spec)

    def resolve(self, part: dict[str, Any]) -> dict[str, Any]:
        """The part that a `$ref` names; any other part as it is."""
        while "$ref" in part:
            found: Any = self._bundle
            for name in part["$ref"][2:].split("/"):
                found = found[name.replace("~1", "/").replace("~0", "~")]
            part = found
        return part

    def body(self, operation_id: str) -> "BodyCheck":
        """The check of an operation's JSON body.

        Raises `KeyError` when the operation has none.
        """
        content = self.resolve(self.operations[operation_id].spec["requestBody"])["content"]
        return BodyCheck(self._schemas.validator(content["application/json"]["schema"]))


class BodyCheck:
    """Refuses what does not fit a schema."""

    def __init__(self, validator: Validator) -> None:
        self._validator = validator

    def __call__(self, value: dict[str, Any]) -> None:
        """Raises `ApiError` 400 that names the first field at fault."""
        if not self._validator.is_valid(value):
            violation = self._validator.error(value)
            if violation is not None:
                raise invalid(_wording(violation))


def _wording(violation: Violation) -> str:
    path = violation.pointer[1:].replace("/", ".")
    reason = violation.reason
    if missing := _REQUIRED.fullmatch(reason):
        path = f"{path}.{missing[1]}" if path else missing[1]
        reason = "Field required"
    elif (wrong := _WRONG_TYPE.fullmatch(reason)) and wrong[1] in _TYPES:
        reason = f"Input should be a valid {_TYPES[wrong[1]]}"
    return f"{path}: {reason}" if path else reason
