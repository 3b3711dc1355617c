"""Turns OpenAPI 3.0 schema objects into JSON Schema 2020-12, which the fast validators understand.

Annotations fall away, and unions become a choice that is made before a member is tried (`if`/`then`/`else`),
so that the fault inside the chosen member can be told instead of "fits none of these".
"""

from collections.abc import Iterable
from typing import Any

Schema = dict[str, Any]

# Keywords that mean the same in both.
_ASSERTIONS = frozenset(
    {
        "enum", "maxItems", "maxLength", "maxProperties", "maximum", "minItems", "minLength", "minProperties",
        "minimum", "multipleOf", "pattern", "required", "type", "uniqueItems",
    }
)  # fmt: skip
# OpenAPI's `binary`, `password`, `int64`, … describe; only these two are worth a refusal.
_FORMATS = frozenset({"date", "date-time"})
_NUMBERS = frozenset({"integer", "number"})


def components(schemas: dict[str, Schema], base: str) -> dict[str, Schema]:
    """Convert all of a document's `components.schemas`; see `schema` for the arguments."""
    return {name: schema(item, schemas, base) for name, item in schemas.items()}


def schema(source: Schema, named: dict[str, Schema], base: str) -> Schema:
    """Convert one schema object.

    `nullable` is read as its writers mean it: null passes, also where a union or an `allOf` stands beside it
    (by the letter of OpenAPI 3.0.3 it would need a `type` there). An `enum` must still list null itself.

    Args:
        source: the OpenAPI 3.0 schema object; it is not changed.
        named: the document's `components.schemas`.
        base: the URI before the `#` of each reference in the result.
    """
    return _Converter(named, base).convert(source)


class _Converter:
    def __init__(self, named: dict[str, Schema], base: str) -> None:
        self._named = named
        self._base = base

    def convert(self, source: Schema) -> Schema:
        if "$ref" in source:
            return self._reference(source["$ref"])
        converted: Schema = {key: value for key, value in source.items() if key in _ASSERTIONS}
        if source.get("format") in _FORMATS:
            converted["format"] = source["format"]
        for bound, strict in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            if source.get(strict) and bound in converted:
                converted[strict] = converted.pop(bound)
        if "properties" in source:
            converted["properties"] = {
                name: self.convert(item) for name, item in source["properties"].items()
            }
        for key in ("items", "not", "additionalProperties"):
            if key in source:
                converted[key] = self.convert(source[key]) if isinstance(source[key], dict) else source[key]
        conditions = [self.convert(member) for member in source.get("allOf", ())]
        conditions += [self._union(source, keyword) for keyword in ("oneOf", "anyOf") if keyword in source]
        if len(conditions) == 1 and not converted:
            converted = conditions[0]
        elif conditions:
            converted["allOf"] = conditions
        return _nullable(converted) if source.get("nullable") else converted

    def _reference(self, reference: str) -> Schema:
        return {"$ref": self._base + reference}

    def _union(self, source: Schema, keyword: str) -> Schema:
        """A `oneOf` or `anyOf`, chosen by discriminator or by JSON type where the schema allows it."""
        members: list[Schema] = source[keyword]
        discriminator = source.get("discriminator", {})
        if "mapping" in discriminator:
            return self._by_property(discriminator["propertyName"], discriminator["mapping"], members)
        types = [self._types(member) for member in members]
        every = frozenset[str]().union(*types)
        if all(types) and sum(map(len, types)) == len(every):
            tests = ({"type": sorted(names)} for names in types)
            return _choose(zip(tests, map(self.convert, members), strict=True), {"type": sorted(every)})
        return {keyword: [self.convert(member) for member in members]}

    def _by_property(self, name: str, mapping: dict[str, str], members: list[Schema]) -> Schema:
        """A union told apart by the property `name`; the unmapped member takes all other values."""
        mapped = set(mapping.values())
        rest = [self.convert(member) for member in members if member.get("$ref") not in mapped]
        otherwise: Schema = {"properties": {name: {"enum": list(mapping)}}}
        if rest:
            otherwise = rest[0] if len(rest) == 1 else {"oneOf": rest}
        tests = ({"properties": {name: {"const": value}}} for value in mapping)
        tagged = {"type": "object", "required": [name]}
        choice = _choose(zip(tests, map(self._reference, mapping.values()), strict=True), otherwise)
        return {"if": tagged, "then": choice, "else": tagged}

    def _types(self, source: Schema) -> frozenset[str]:
        """The JSON types that a schema admits, as far as it says so; empty when it does not."""
        if "$ref" in source:
            return self._types(self._named[source["$ref"].rpartition("/")[2]])
        if "type" in source:
            types = _NUMBERS if source["type"] == "number" else frozenset({source["type"]})
        elif "mapping" in source.get("discriminator", {}):
            types = frozenset({"object"})
        else:
            union: list[Schema] = source.get("oneOf") or source.get("anyOf") or []
            members = [self._types(member) for member in union]
            types = frozenset[str]().union(*members) if all(members) else frozenset()
        return types | {"null"} if types and source.get("nullable") else types


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
