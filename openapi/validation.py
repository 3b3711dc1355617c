"""Judges parsed JSON by the contract's schemas: in microseconds, and with one short line when it fails.

Nothing here changes or keeps a value: no defaults are filled in, and a fault is told without it.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

import jsonschema_rs

from openapi import conversion, load
from openapi.conversion import Schema
from openapi.violation import Violation, describe

__all__ = ["Schemas", "Validator", "Violation", "schemas_of"]

_BASE = "urn:openapi"
_TAG = "type"  # the property that tells Anthropic's objects apart
_INNER = frozenset({"additionalProperties", "allOf", "anyOf", "items", "oneOf", "properties"})

Path = tuple[str | int, ...]


class _Fault(NamedTuple):
    """What `violation.describe` puts into words."""

    path: Path
    keyword: str
    demand: dict[str, Any]
    value: Any


class Validator:
    """One schema, compiled when a value is first judged by it; made by `Schemas.validator`.

    All of a contract compiled take 40 MB and a quarter of a second, and few callers use all of it.
    """

    __slots__ = ("_schema", "_schemas", "is_valid")

    is_valid: Callable[[Any], bool]
    """Whether a parsed JSON value fits: the library's own method, so the hot path has no frame of ours.

    Raises:
        ValueError: a reference leads nowhere, or this is no schema.
    """

    def __init__(self, schemas: "Schemas", schema: Schema) -> None:
        self._schemas = schemas
        self._schema = schema

    def __getattr__(self, name: str) -> Any:
        """Called for `is_valid` alone, as long as it is not there."""
        if name != "is_valid":
            raise AttributeError(name=name, obj=self)
        self.is_valid = self._schemas.compiled(self._schema).is_valid
        return self.is_valid

    def error(self, instance: Any) -> Violation | None:
        """Return a fault of a parsed JSON value, or None when it fits."""
        return None if self.is_valid(instance) else self._schemas.fault(self._schema, instance)


class Schemas:
    """The schemas of one bundle.

    Args:
        bundle: an OpenAPI 3.0 document whose references all point into its own `components`.
    """

    def __init__(self, bundle: dict[str, Any]) -> None:
        self._named: dict[str, Schema] = bundle.get("components", {}).get("schemas", {})
        self._converted = conversion.components(self._named, _BASE)
        self._registry = jsonschema_rs.Registry([(_BASE, {"components": {"schemas": self._converted}})])
        self._compiled: dict[str | int, tuple[Schema, jsonschema_rs.Validator]] = {}
        self._shells: dict[int, tuple[Schema, jsonschema_rs.Validator]] = {}
        self._validators: dict[str | int, tuple[Schema, Validator]] = {}

    def validator(self, schema: Schema | str) -> Validator:
        """The validator of one schema, the same each time; to be called at start, since all are kept.

        Args:
            schema: an OpenAPI 3.0 schema object, or a reference such as `#/components/schemas/Message`.
        """
        source = {"$ref": schema} if isinstance(schema, str) else schema
        key = source.get("$ref") or id(source)
        if key not in self._validators:
            converted = conversion.schema(source, self._named, _BASE)
            self._validators[key] = source, Validator(self, converted)
        return self._validators[key][1]

    def fault(self, schema: Schema, value: Any) -> Violation:
        """What is wrong with a value that does not fit a converted schema."""
        return describe(*self._locate(schema, value, ()))

    def compiled(self, schema: Schema) -> jsonschema_rs.Validator:
        """The validator of a converted schema, made once; the schema is kept, for its `id` to stay valid."""
        key = schema.get("$ref") or id(schema)
        if key not in self._compiled:
            self._compiled[key] = schema, self._build(schema)
        return self._compiled[key][1]

    def _shell(self, schema: Schema) -> jsonschema_rs.Validator:
        """What a converted schema asks of a value itself, and not of its members."""
        if id(schema) not in self._shells:
            shell = {keyword: demand for keyword, demand in schema.items() if keyword not in _INNER}
            if schema.get("additionalProperties") is False:
                shell["properties"] = dict.fromkeys(schema.get("properties", ()), True)
                shell["additionalProperties"] = False
            self._shells[id(schema)] = schema, self._build(shell)
        return self._shells[id(schema)][1]

    def _build(self, schema: Schema) -> jsonschema_rs.Validator:
        return jsonschema_rs.Draft202012Validator(
            schema, registry=self._registry, validate_formats=True, offline=True
        )

    def _locate(self, schema: Schema, value: Any, path: Path) -> _Fault:
        """Find the innermost fault of a value that does not fit.

        The library's own error holds a copy of the faulty value: a second and a gigabyte for a 30 MB body
        that lacks a field. So each level is asked without its members, and those only whether they fit.
        """
        schema = self._choose(schema, value)
        tag = schema.get("properties", {}).get(_TAG)
        if tag and isinstance(value, dict) and _TAG in value and not self.compiled(tag).is_valid(value[_TAG]):
            return self._locate(tag, value[_TAG], (*path, _TAG))
        shell = self._shell(schema)
        if not shell.is_valid(value):
            outline = _outline(value)
            error = next(iter(shell.iter_errors(value if shell.is_valid(outline) else outline)))
            return _Fault(path, error.kind.name, error.kind.as_dict(), value)
        for inner, members in _members(schema, value):
            fits = self.compiled(inner).is_valid
            for step, member in members:
                if not fits(member):
                    return self._locate(inner, member, (*path, *step))
        return self._locate_in_union(schema, value, path)

    def _choose(self, schema: Schema, value: Any) -> Schema:
        """The schema that judges the value, after references and choices."""
        while True:
            if "$ref" in schema:
                schema = self._converted[schema["$ref"].rpartition("/")[2]]
            elif "if" in schema:
                schema = schema["then" if self.compiled(schema["if"]).is_valid(value) else "else"]
            else:
                return schema

    def _locate_in_union(self, schema: Schema, value: Any, path: Path) -> _Fault:
        """For a union without a discriminator: the fault of the one form that was meant, if that is clear."""
        keyword = "oneOf" if "oneOf" in schema else "anyOf"
        here = _Fault(path, keyword, {}, value)
        if any(self.compiled(form).is_valid(value) for form in schema[keyword]):
            return here
        faults = [self._locate(form, value, path) for form in schema[keyword]]
        meant = [fault for fault in faults if not _is_about_tag(fault, path)] or faults
        if all(fault.keyword == "format" and fault.path == path for fault in meant):
            formats = dict.fromkeys(fault.demand["format"] for fault in meant)
            return _Fault(path, "format", {"format": " or a ".join(formats)}, value)
        return meant[0] if all(fault == meant[0] for fault in meant) else here


def _is_about_tag(fault: _Fault, path: Path) -> bool:
    """Whether a form of a union refuses a value only because its tag says that another form is meant."""
    if fault.path == path:
        return fault.keyword == "type" or fault.demand.get("property") == _TAG
    return fault.path == (*path, _TAG)


@cache
def schemas_of(name: str) -> Schemas:
    """The schemas of the committed bundle `name` ("native" or "envelope"), one object a process.

    Judging holds the interpreter's lock, 7 ms for each megabyte of small blocks, and parsing them longer: for
    large bodies call both in a worker process.
    """
    return Schemas(load(name))


def _members(schema: Schema, value: Any) -> Iterator[tuple[Schema, Iterable[tuple[Path, Any]]]]:
    """The parts of a value that have schemas of their own: each such schema with its (path, part) pairs."""
    for member in schema.get("allOf", ()):
        yield member, [((), value)]
    if isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        for name, member in value.items():
            if name in properties:
                yield properties[name], [((name,), member)]
            elif isinstance(others, dict):
                yield others, [((name,), member)]
    elif isinstance(value, list) and "items" in schema:
        yield schema["items"], (((index,), member) for index, member in enumerate(value))


def _outline(value: Any) -> Any:
    """The value without its members, for an error that is cheap to make; distinct, for `uniqueItems`."""
    if isinstance(value, dict):
        return dict.fromkeys(value)
    return list(range(len(value))) if isinstance(value, list) else value
