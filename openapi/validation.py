"""Judges JSON values by the contract's schemas: in microseconds, and with one short line when they fail.

`Schemas` compiles OpenAPI 3.0 schemas to JSON Schema 2020-12 validators. Unions are compiled to a choice that
is made before a member is tried, so that the fault inside the chosen member is what gets reported.

Nothing here changes or keeps the value: no defaults are filled in, and a `Violation` never holds what the
caller wrote, since prompts must not reach a log or another tenant's screen.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jsonschema_rs
from jsonschema_rs import ValidationErrorKind as Kind

Schema = dict[str, Any]

_BASE = "urn:openapi"

_ASSERTIONS = frozenset(
    {
        "enum", "maxItems", "maxLength", "maxProperties", "maximum", "minItems", "minLength", "minProperties",
        "minimum", "multipleOf", "pattern", "required", "type", "uniqueItems",
    }
)  # fmt: skip
# OpenAPI's `binary`, `password`, `int64`, … describe; only these two are worth a refusal.
_FORMATS = frozenset({"date", "date-time"})

_NUMBERS = frozenset({"integer", "number"})
_TYPE_NAMES = (
    (bool, "boolean"),
    (int, "integer"),
    (str, "string"),
    (list, "array"),
    (dict, "object"),
    (type(None), "null"),
)

# Together they keep a violation's line under 200 characters.
_MAX_POINTER = 100
_MAX_REASON = 95
_MAX_LIST = 60
_SPEAKABLE = re.compile(r"[A-Za-z0-9_.\-]{1,40}")  # a key that reads like a field's name, not like content
_UNSPOKEN = "…"

# By JSON Schema keyword. In braces: what the keyword demands, and of the value its type and size only.
_REASONS = {
    "additionalProperties": "unknown property {unexpected}",
    "anyOf": "fits none of the forms allowed here",
    "enum": "must be one of {options}",
    "exclusiveMaximum": "must be less than {limit}",
    "exclusiveMinimum": "must be more than {limit}",
    "falseSchema": "is not allowed here",
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


@dataclass(frozen=True, slots=True)
class Violation:
    """The first fault of a value.

    Attributes:
        pointer: where, as a JSON pointer (RFC 6901); keys that may be content are shown as `…`.
        reason: what is wrong, without the value itself.
    """

    pointer: str
    reason: str

    def __str__(self) -> str:
        return f"{self.pointer}: {self.reason}" if self.pointer else self.reason


class Validator:
    """One compiled schema."""

    __slots__ = ("_compiled", "is_valid")

    is_valid: Callable[[Any], bool]
    """Whether a parsed JSON value fits: the library's own method, so the hot path has no frame of ours."""

    def __init__(self, compiled: jsonschema_rs.Draft202012Validator) -> None:
        self._compiled = compiled
        self.is_valid = compiled.is_valid

    def error(self, instance: Any) -> Violation | None:
        """Return the first fault of a parsed JSON value, or None when it fits."""
        try:
            self._compiled.validate(instance)
        except jsonschema_rs.ValidationError as error:
            return _violation(error, instance)
        return None


class Schemas:
    """The schemas of one bundle, compiled when first asked for.

    Args:
        bundle: an OpenAPI 3.0 document whose references all point into its own `components`.
    """

    def __init__(self, bundle: dict[str, Any]) -> None:
        self._components: dict[str, Schema] = bundle.get("components", {}).get("schemas", {})
        converted = {name: self._convert(schema) for name, schema in self._components.items()}
        self._registry = jsonschema_rs.Registry([(_BASE, {"components": {"schemas": converted}})])
        self._validators: dict[str, Validator] = {}

    def validator(self, schema: Schema | str) -> Validator:
        """Compile one schema.

        Args:
            schema: a schema object, or a reference such as `#/components/schemas/Message`.

        Raises:
            ValueError: the schema refers to nothing, or is no schema.
        """
        if isinstance(schema, dict) and "$ref" not in schema:
            return self._compile(self._convert(schema))
        reference = schema if isinstance(schema, str) else schema["$ref"]
        if reference not in self._validators:
            self._validators[reference] = self._compile({"$ref": _BASE + reference})
        return self._validators[reference]

    def _compile(self, converted: Schema) -> Validator:
        # The mask keeps the value out of the library's own message, which would else be as long as the value.
        compiled = jsonschema_rs.Draft202012Validator(
            converted, registry=self._registry, validate_formats=True, mask="value", offline=True
        )
        return Validator(compiled)

    def _convert(self, schema: Schema) -> Schema:
        """One OpenAPI 3.0 schema object as JSON Schema 2020-12, without its annotations."""
        if "$ref" in schema:
            return {"$ref": _BASE + schema["$ref"]}
        converted: Schema = {key: value for key, value in schema.items() if key in _ASSERTIONS}
        if schema.get("format") in _FORMATS:
            converted["format"] = schema["format"]
        for bound, strict in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            if schema.get(strict) and bound in converted:
                converted[strict] = converted.pop(bound)
        if "properties" in schema:
            converted["properties"] = {
                name: self._convert(item) for name, item in schema["properties"].items()
            }
        for key in ("items", "not", "additionalProperties"):
            if key in schema:
                converted[key] = self._convert(schema[key]) if isinstance(schema[key], dict) else schema[key]
        conditions = [self._convert(member) for member in schema.get("allOf", ())]
        conditions += [self._union(schema, keyword) for keyword in ("oneOf", "anyOf") if keyword in schema]
        if len(conditions) == 1 and not converted:
            converted = conditions[0]
        elif conditions:
            converted["allOf"] = conditions
        return _nullable(converted) if schema.get("nullable") else converted

    def _union(self, schema: Schema, keyword: str) -> Schema:
        """A `oneOf` or `anyOf`, chosen by discriminator or by JSON type where the schema allows it."""
        members: list[Schema] = schema[keyword]
        discriminator = schema.get("discriminator", {})
        if "mapping" in discriminator:
            return self._by_property(discriminator["propertyName"], discriminator["mapping"], members)
        types = [self._types(member) for member in members]
        if all(types) and sum(map(len, types)) == len(frozenset().union(*types)):
            tests = ({"type": sorted(names)} for names in types)
            choices = zip(tests, map(self._convert, members), strict=True)
            return _choose(choices, {"type": sorted(frozenset().union(*types))})
        return {keyword: [self._convert(member) for member in members]}

    def _by_property(self, name: str, mapping: dict[str, str], members: list[Schema]) -> Schema:
        """A union told apart by the property `name`; the unmapped member takes all other values."""
        by_reference = set(mapping.values())
        rest = [self._convert(member) for member in members if member.get("$ref") not in by_reference]
        otherwise: Schema = {"properties": {name: {"enum": list(mapping)}}}
        if rest:
            otherwise = rest[0] if len(rest) == 1 else {"oneOf": rest}
        tests = ({"properties": {name: {"const": value}}} for value in mapping)
        choices = zip(tests, ({"$ref": _BASE + reference} for reference in mapping.values()), strict=True)
        tagged = {"type": "object", "required": [name]}
        return {"if": tagged, "then": _choose(choices, otherwise), "else": tagged}

    def _types(self, schema: Schema) -> frozenset[str]:
        """The JSON types that a schema admits, as far as it says so; empty when it does not."""
        if "$ref" in schema:
            return self._types(self._components[schema["$ref"].rpartition("/")[2]])
        if "type" in schema:
            types = _NUMBERS if schema["type"] == "number" else frozenset({schema["type"]})
        elif "mapping" in schema.get("discriminator", {}):
            types = frozenset({"object"})
        else:
            union: list[Schema] = schema.get("oneOf") or schema.get("anyOf") or []
            members = [self._types(member) for member in union]
            types = frozenset[str]().union(*members) if all(members) else frozenset()
        return types | {"null"} if types and schema.get("nullable") else types


def _nullable(converted: Schema) -> Schema:
    """Let null pass as well: in the type where that is all there is, else before anything else is asked."""
    if "type" in converted and "allOf" not in converted:
        return {**converted, "type": [converted["type"], "null"]}
    return {"if": {"type": "null"}, "else": converted} if converted else converted


def _choose(choices: Iterable[tuple[Schema, Schema]], otherwise: Schema) -> Schema:
    """Try each test in turn: the schema beside the first that holds judges, else the last one does."""
    chain = otherwise
    for test, then in reversed(list(choices)):
        chain = {"if": test, "then": then, "else": chain}
    return chain


def _violation(error: jsonschema_rs.ValidationError, instance: Any) -> Violation:
    """Say in our own words what failed, from the schema's side of it and the value's type or size alone."""
    error = _innermost(error)
    for member in error.instance_path:
        instance = instance[member]
    return Violation(_pointer(error.instance_path), _reason(error.kind, instance))


def _innermost(error: jsonschema_rs.ValidationError) -> jsonschema_rs.ValidationError:
    """For a union without a discriminator, the fault of the member that the value went furthest into."""
    match error.kind:
        case Kind.OneOfNotValid(context) | Kind.AnyOf(context):
            faults = [_innermost(faults[0]) for faults in context]
            furthest = max(faults, key=lambda fault: len(fault.instance_path))
            return furthest if len(furthest.instance_path) > len(error.instance_path) else error
    return error


def _reason(kind: Kind, value: Any) -> str:
    facts = kind.as_dict()
    template = _REASONS.get(kind.name, "does not fit its schema")
    reason = template.format(
        type=_type_name(value),
        size=len(value) if isinstance(value, str | list | dict) else 0,
        types=" or ".join(facts.pop("types", ())),
        options=_list(facts.pop("options", ())),
        unexpected=_list(
            name if _SPEAKABLE.fullmatch(name) else _UNSPOKEN for name in facts.pop("unexpected", ())
        ),
        **facts,
    )
    return reason if len(reason) <= _MAX_REASON else reason[:_MAX_REASON] + _UNSPOKEN


def _list(values: Iterable[Any]) -> str:
    """As many of the values as are quick to read, and how many more there are."""
    shown = [json.dumps(value, ensure_ascii=False) for value in values]
    width = itertools.accumulate(len(text) + 2 for text in shown)
    kept = sum(1 for _ in itertools.takewhile(lambda total: total <= _MAX_LIST, width))
    more = len(shown) - kept
    return ", ".join(shown[:kept]) + (f" … ({more} more)" if more else "")


def _pointer(path: Sequence[str | int]) -> str:
    """A JSON pointer; a key that may be content is shown as `…`, and so is the middle of a long pointer."""
    members = (member if _SPEAKABLE.fullmatch(member) else _UNSPOKEN for member in map(str, path))
    pointer = "".join(f"/{member}" for member in members)
    half = _MAX_POINTER // 2
    return pointer if len(pointer) <= _MAX_POINTER else f"{pointer[:half]}{_UNSPOKEN}{pointer[-half:]}"


def _type_name(value: Any) -> str:
    """The JSON type of a parsed value."""
    return next((name for kind, name in _TYPE_NAMES if isinstance(value, kind)), "number")
