"""The path and query of a request, checked against the parameters that the spec of its operation names."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from gateway.errors import BadRequest
from openapi.validation import Schemas

_INTEGER = re.compile(r"-?[0-9]{1,40}")
_BOOLEANS = {"true": True, "false": False}


class Parameters:
    """The path and query parameters of one operation, their schemas compiled at start.

    Args:
        specs: the resolved parameter objects of the operation.
        schemas: compiles them.
        closed: whether unknown and repeated query parameters are faults; those of the native dialect are
            upstream's business, those of pages and probes nobody's.

    Attributes:
        required: the query parameters that must be there.
    """

    def __init__(self, specs: tuple[Mapping[str, Any], ...], schemas: Schemas, *, closed: bool) -> None:
        self._closed = closed
        self._path = {
            spec["name"]: schemas.validator(spec["schema"]) for spec in specs if spec["in"] == "path"
        }
        self._query = {
            spec["name"]: (spec, schemas.validator(spec["schema"])) for spec in specs if spec["in"] == "query"
        }
        self.required = frozenset(
            spec["name"] for spec in specs if spec["in"] == "query" and spec.get("required")
        )
        self._defaults = {
            name: spec["schema"]["default"]
            for name, (spec, _) in self._query.items()
            if "default" in spec["schema"]
        }

    def check_path(self, values: Mapping[str, str]) -> None:
        """Judge the path parameters.

        Raises:
            BadRequest: one breaks its schema; the message names it.
        """
        for name, validator in self._path.items():
            violation = validator.error(values[name])
            if violation is not None:
                raise BadRequest(f"path parameter {name}: {violation.reason}")

    def query(self, raw: bytes) -> dict[str, Any]:
        """The query's parameters with the types of their schemas, defaults filled in.

        Raises:
            BadRequest: one is missing or wrong or, where closed, unknown or repeated; the message names it.
        """
        values = dict(self._defaults)
        if raw and (self._closed or self._query):
            seen: set[str] = set()
            for name, text in _pairs(raw):
                if name not in self._query:
                    if self._closed:
                        raise BadRequest(f"query parameter {_shown(name)}: unknown")
                    continue
                spec = self._query[name][0]
                if "\0" in text:  # no id or name has it, and PostgreSQL's texts cannot hold it
                    raise BadRequest(f"query parameter {name}: must not contain NUL")
                value = _value(spec, text)
                if name in seen:
                    if spec["schema"].get("type") == "array" and spec.get("explode", True):
                        value = [*values[name], *value]
                    elif self._closed:
                        raise BadRequest(f"query parameter {name}: given twice")
                seen.add(name)
                values[name] = value
            self._judge({name: values[name] for name in sorted(seen)})
        missing = self.required - values.keys()
        if missing:
            raise BadRequest(f"query parameter {min(missing)}: is required")
        return values

    def _judge(self, given: Mapping[str, Any]) -> None:
        for name, value in given.items():
            violation = self._query[name][1].error(value)
            if violation is not None:
                raise BadRequest(f"query parameter {name}: {violation.reason}")


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise BadRequest("the query is not valid UTF-8") from None


def _value(spec: Mapping[str, Any], text: str) -> Any:
    """One occurrence of a parameter: a list where it is one, written with commas where it is not repeated."""
    schema = spec["schema"]
    if schema.get("type") != "array":
        return _typed(schema, text)
    texts = [text] if spec.get("explode", True) else text.split(",")
    return [_typed(schema["items"], item) for item in texts]


def _typed(schema: Mapping[str, Any], text: str) -> Any:
    """A text as the type of its schema, or itself, which the schema then refuses."""
    match schema.get("type"):
        case "integer" if _INTEGER.fullmatch(text):
            return int(text)
        case "boolean":
            return _BOOLEANS.get(text, text)
    return text


def _shown(name: str) -> str:
    return name[:40] if name[:40].isprintable() and name.isascii() else "(unprintable)"
