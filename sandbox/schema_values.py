"""A value that fits a JSON Schema, always the same: for tool inputs and structured outputs."""

from typing import Any

Schema = dict[str, Any]

_MAX_DEPTH = 12
_MAX_ITEMS = 100
_MAX_LENGTH = 10_000
_FORMATS = {
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "date-time": "2026-01-31T12:00:00Z",
    "duration": "PT1H",
    "email": "ada@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def value_for(schema: Schema) -> Any:
    """A value for the schema: it minds types, formats, choices, references and bounds, but no patterns."""
    return _value(schema, schema, "value", 0)


def _value(schema: Any, root: Schema, name: str, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return None
    for keyword in ("const", "default"):
        if keyword in schema:
            return schema[keyword]
    for keyword in ("enum", "examples"):
        if isinstance(schema.get(keyword), list) and schema[keyword]:
            return schema[keyword][0]
    if isinstance(schema.get("$ref"), str):
        return _value(_resolve(schema["$ref"], root), root, name, depth + 1)
    for keyword in ("anyOf", "oneOf"):
        if isinstance(schema.get(keyword), list):
            return _value(_first_member(schema[keyword]), root, name, depth + 1)
    if isinstance(schema.get("allOf"), list):
        schema = _merged(schema, root)
    return _of_type(schema, root, name, depth)


def _of_type(schema: Schema, root: Schema, name: str, depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind == "object" or "properties" in schema:
        properties = schema.get("properties")
        members = properties if isinstance(properties, dict) else {}
        return {key: _value(member, root, key, depth + 1) for key, member in members.items()}
    if kind == "array":
        count = int(min(max(1, schema.get("minItems", 1)), _MAX_ITEMS))
        return [_value(schema.get("items", {}), root, name, depth + 1)] * count
    if kind in {"integer", "number"}:
        return _number(schema)
    if kind == "boolean":
        return True
    return None if kind == "null" else _string(schema, name)


def _number(schema: Schema) -> Any:
    if "minimum" in schema:
        return schema["minimum"]
    if "exclusiveMinimum" in schema:
        return schema["exclusiveMinimum"] + 1
    return min(1, schema.get("maximum", 1))


def _string(schema: Schema, name: str) -> str:
    text = _FORMATS.get(schema.get("format", ""), f"example {name}")
    least = int(min(schema.get("minLength", 0), _MAX_LENGTH))
    most = int(min(schema.get("maxLength", _MAX_LENGTH), _MAX_LENGTH))
    return text.ljust(least, ".")[:most]


def _first_member(members: list[Any]) -> Any:
    return next((one for one in members if isinstance(one, dict) and one.get("type") != "null"), None)


def _resolve(reference: str, root: Schema) -> Any:
    found: Any = root
    for name in reference.removeprefix("#/").split("/"):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _merged(schema: Schema, root: Schema) -> Schema:
    merged = {key: value for key, value in schema.items() if key != "allOf"}
    for member in schema["allOf"]:
        part = _resolve(member["$ref"], root) if isinstance(member, dict) and "$ref" in member else member
        if isinstance(part, dict):
            merged = {
                **part,
                **merged,
                "properties": {**part.get("properties", {}), **merged.get("properties", {})},
            }
    return merged
