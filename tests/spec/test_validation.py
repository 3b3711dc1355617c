"""The compiled schemas: what passes, what fails, and how shortly and discreetly a fault is told."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS30Validator

import openapi
from openapi.validation import Schemas, Violation, schemas_of

SECRET = "my grandmother's recipe"


def ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def tagged(tag: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["type", *properties],
        "properties": {"type": {"type": "string", "enum": [tag]}, **properties},
    }


def union(*names: str) -> dict[str, Any]:
    return {
        "oneOf": [*map(ref, names), ref(f"Unknown{names[0]}")],
        "discriminator": {
            "propertyName": "type",
            "mapping": {name.lower(): ref(name)["$ref"] for name in names},
        },
    }


def unknown(*tags: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"type": "string", "not": {"enum": list(tags)}}},
    }


TEXT = {"type": "string"}
COMPONENTS: dict[str, Any] = {
    "Text": tagged("text", text=TEXT),
    "Result": tagged("result", content=ref("Content")),
    "UnknownText": unknown("text", "result"),
    "Block": union("Text", "Result"),
    "Content": {"oneOf": [TEXT, {"type": "array", "items": ref("Block")}]},
    "Message": {
        "type": "object",
        "required": ["role", "content"],
        "properties": {"role": {"type": "string", "enum": ["user", "assistant"]}, "content": ref("Content")},
    },
    "User": tagged("user", name=TEXT),
    "Robot": tagged("robot", serial={"type": "integer"}),
    "Speaker": {
        "oneOf": [ref("User"), ref("Robot")],
        "discriminator": {
            "propertyName": "type",
            "mapping": {"user": ref("User")["$ref"], "robot": ref("Robot")["$ref"]},
        },
    },
    "OwnTool": {
        "type": "object",
        "required": ["name"],
        "properties": {"type": {"type": "string", "enum": ["own"]}, "name": TEXT},
    },
    "Tool": {"oneOf": [ref("OwnTool"), ref("OtherTool")]},
    "Search": tagged("search", uses={"type": "integer", "minimum": 1}),
    "UnknownSearch": unknown("search", "own"),
    "OtherTool": union("Search"),
    "Tree": {
        "type": "object",
        "required": ["leaf"],
        "properties": {"leaf": {"type": "boolean"}, "branches": {"type": "array", "items": ref("Tree")}},
        "additionalProperties": False,
    },
    "Limits": {
        "type": "object",
        "properties": {
            "share": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 1},
            "size": {"type": "integer", "nullable": True, "minimum": 1, "multipleOf": 5},
            "level": {"type": "string", "nullable": True, "enum": ["low", "high", None]},
            "names": {"type": "array", "minItems": 1, "maxItems": 2, "uniqueItems": True, "items": TEXT},
            "code": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]+$"},
            "either": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]},
        },
        "additionalProperties": {"type": "boolean"},
    },
    "Base": {"type": "object", "required": ["id"], "properties": {"id": TEXT}},
    "Derived": {"allOf": [ref("Base"), {"type": "object", "properties": {"n": {"type": "integer"}}}]},
}
BUNDLE = {"components": {"schemas": COMPONENTS}}
SCHEMAS = Schemas(BUNDLE)


def fault(schema: Any, value: Any) -> str | None:
    validator = SCHEMAS.validator(schema)
    violation = validator.error(value)
    assert validator.is_valid(value) == (violation is None)
    return violation and str(violation)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (ref("Message"), {"role": "user", "content": SECRET}),
        (ref("Message"), {"role": "user", "content": [{"type": "text", "text": SECRET}], "newer": 1}),
        (ref("Message"), {"role": "user", "content": [{"type": "newer", "anything": [1]}]}),
        (ref("Tree"), {"leaf": False, "branches": [{"leaf": False, "branches": [{"leaf": True}]}]}),
        (ref("Tool"), {"name": "mine"}),
        (ref("Tool"), {"type": "own", "name": "mine"}),
        (ref("Tool"), {"type": "search_2099"}),
        (ref("Limits"), {"size": None, "level": None, "either": [1, 2], "flag": True}),
        ({"type": "string", "nullable": True}, None),
        ({"nullable": True, "allOf": [ref("Base")]}, None),
        ({"nullable": True, **union("Text", "Result")}, None),
        ({"type": "object", "nullable": True, "allOf": [ref("Base")]}, None),
        ({"oneOf": [{"type": "string", "nullable": True}, {"type": "integer"}]}, None),
        ({"type": "string", "format": "binary"}, "any"),
        ({"type": "integer", "format": "int32"}, 2**40),
        ({"type": "string", "format": "date-time"}, "2026-10-21T10:00:00Z"),
        ({"type": "string", "default": 5, "example": 5, "readOnly": True, "description": "x"}, "any"),
        ({}, {"any": [None]}),
    ],
)
def test_passes(schema: Any, value: Any) -> None:
    assert fault(schema, value) is None


@pytest.mark.parametrize(
    ("schema", "value", "line"),
    [
        (ref("Message"), [], "must be object, not array"),
        (ref("Message"), {"content": ""}, "'role' is a required property"),
        (
            ref("Message"),
            {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text"}]},
            "/content/1: 'text' is a required property",
        ),
        (
            ref("Message"),
            {"role": "user", "content": [{"type": "result", "content": [{"type": "text", "text": 5}]}]},
            "/content/0/content/0/text: must be string, not integer",
        ),
        (ref("Message"), {"role": "user", "content": 5}, "/content: must be array or string, not integer"),
        (ref("Message"), {"role": "user", "content": [5]}, "/content/0: must be object, not integer"),
        (ref("Message"), {"role": "user", "content": [{}]}, "/content/0: 'type' is a required property"),
        (
            ref("Message"),
            {"role": "user", "content": [{"type": None}]},
            "/content/0/type: must be string, not null",
        ),
        (ref("Message"), {"role": SECRET, "content": ""}, '/role: must be one of "user", "assistant"'),
        (ref("Speaker"), {"type": SECRET}, '/type: must be one of "user", "robot"'),
        (ref("Speaker"), {"name": SECRET}, "'type' is a required property"),
        (ref("Tool"), 5, "must be object, not integer"),
        (ref("Tool"), {}, "'name' is a required property"),
        (ref("Tool"), {"type": "own"}, "'name' is a required property"),
        (ref("Tool"), {"type": "search", "uses": 0}, "/uses: must be at least 1"),
        (ref("Tree"), {"leaf": 1, "branches": []}, "/leaf: must be boolean, not integer"),
        (ref("Tree"), {"leaf": True, "twig": 1, "bud": 2}, 'unknown property "twig", "bud"'),
        (ref("Limits"), {"share": 0}, "/share: must be more than 0"),
        (ref("Limits"), {"share": 1.5}, "/share: must be at most 1"),
        (ref("Limits"), {"size": 7}, "/size: must be a multiple of 5"),
        (ref("Limits"), {"size": 2.5}, "/size: must be integer or null, not number"),
        (ref("Limits"), {"level": "middle"}, '/level: must be one of "low", "high", null'),
        (ref("Limits"), {"names": []}, "/names: must have at least 1 items, has 0"),
        (ref("Limits"), {"names": ["a", "b", "c"]}, "/names: must have at most 2 items, has 3"),
        (ref("Limits"), {"names": ["a", "a"]}, "/names: must not have the same item twice"),
        (ref("Limits"), {"code": "a"}, "/code: must have at least 2 characters, has 1"),
        (ref("Limits"), {"code": "abcde"}, "/code: must have at most 4 characters, has 5"),
        (ref("Limits"), {"code": "AB"}, "/code: must match ^[a-z]+$"),
        (ref("Limits"), {"either": [1, "2"]}, "/either/1: must be integer, not string"),
        (ref("Limits"), {"flag": 1}, "/flag: must be boolean, not integer"),
        (ref("Derived"), {"n": 1}, "'id' is a required property"),
        (ref("Derived"), {"id": "", "n": "1"}, "/n: must be integer, not string"),
        ({"nullable": True, "allOf": [ref("Base")]}, {}, "'id' is a required property"),
        ({"type": "string", "nullable": True, "enum": ["a"]}, None, 'must be "a"'),
        ({"type": "object", "additionalProperties": False}, {"a": 1}, 'unknown property "a"'),
        ({"type": "object", "maxProperties": 1}, {"a": 1, "b": 2}, "must have at most 1 properties, has 2"),
        ({"type": "object", "minProperties": 1}, {}, "must have at least 1 properties, has 0"),
        ({"maximum": 3, "exclusiveMaximum": True, "type": "integer"}, 3, "must be less than 3"),
        ({"type": "string", "format": "date-time"}, "today", "must be a date-time (RFC 3339)"),
        (
            {"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]},
            "today",
            "must be a date or a date-time (RFC 3339)",
        ),
        (
            {"anyOf": [{"type": "string", "format": "date"}, {"type": "integer"}]},
            "today",
            "must be a date (RFC 3339)",
        ),
        ({"not": {"type": "string"}}, "a", "is not allowed here"),
        (
            {"oneOf": [{"type": "integer"}, {"minimum": 1}]},
            5,
            "does not fit exactly one of the forms allowed here",
        ),
        ({"anyOf": [{"minimum": 5}, {"maximum": 3}]}, 4, "fits none of the forms allowed here"),
        (
            {"anyOf": [ref("Base"), {"type": "object", "required": ["key"]}]},
            {},
            "fits none of the forms allowed here",
        ),
    ],
)
def test_fails_in_one_short_line(schema: Any, value: Any, line: str) -> None:
    assert fault(schema, value) == line


def test_keys_that_may_be_content_are_not_told() -> None:
    assert fault(ref("Tree"), {"leaf": True, SECRET: 1, "x" * 41: 1}) == 'unknown property "…", "…"'
    assert fault(ref("Limits"), {SECRET: 1}) == "/…: must be boolean, not integer"


def test_lines_stay_short() -> None:
    nested: Any = {"leaf": 5}
    for _ in range(60):
        nested = {"leaf": False, "branches": [nested]}
    line = fault(ref("Tree"), nested)
    assert line is not None
    assert line.startswith("/branches/0/")
    assert line.endswith("/branches/0/leaf: must be boolean, not integer")
    assert len(line) < 200
    assert fault({"type": "string", "enum": [f"choice_{n}" for n in range(50)]}, "x") == (
        'must be one of "choice_0", "choice_1", "choice_2", "choice_3", "choice_4" … (45 more)'
    )
    assert len(str(fault({"type": "string", "pattern": "^" + "a" * 500}, "x"))) < 100
    many = {"leaf": True} | {f"unknown_property_{n}": 1 for n in range(1000)}
    assert len(str(fault(ref("Tree"), many))) < 120


def test_a_large_value_is_not_copied_into_its_fault() -> None:
    """The library's own error would hold the whole value; the outline that is asked instead does not."""
    block = {"type": "text", "text": "abc"}
    body = {"content": [dict(block) for _ in range(100_000)]}
    assert fault(ref("Message"), body) == "'role' is a required property"
    assert fault(ref("Content"), body) == "must be array or string, not object"
    body["content"].append({"type": "text"})
    assert fault(ref("Message"), {"role": "user", **body}) == "/content/100000: 'text' is a required property"


def test_a_reference_to_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="Missing"):
        SCHEMAS.validator("#/components/schemas/Missing").is_valid({})


def test_violation_reads_as_a_line() -> None:
    assert str(Violation("/a/0", "must be string, not null")) == "/a/0: must be string, not null"
    assert str(Violation("", "'a' is a required property")) == "'a' is a required property"


@pytest.mark.parametrize("name", ["native", "envelope"])
def test_every_schema_of_the_bundles_compiles(name: str) -> None:
    schemas = schemas_of(name)
    assert schemas is schemas_of(name)
    for component in openapi.load(name)["components"]["schemas"]:
        schemas.validator(f"#/components/schemas/{component}").is_valid({})


ANYTHING = st.sampled_from([None, True, -1, 0, 5, 0.5, 1.5, "", "ab", "newer", [], [1], {}, {"type": "text"}])
SCALARS = {
    "string": st.sampled_from(["", "ab", "abcde", "newer", "text"]),
    "integer": st.integers(-1, 11),
    "number": st.sampled_from([-1, 0, 0.5, 1, 1.5]),
    "boolean": st.booleans(),
}


def nearly(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit the schema or almost do: at any depth, one part in a few is something else."""
    right: st.SearchStrategy[Any]
    if "$ref" in schema:
        return nearly(COMPONENTS[schema["$ref"].rpartition("/")[2]])
    if "allOf" in schema:
        return st.builds(
            lambda *parts: {k: v for part in parts for k, v in part.items()}, *map(whole, schema["allOf"])
        )
    if "oneOf" in schema or "anyOf" in schema:
        right = st.one_of([part(member) for member in schema.get("oneOf") or schema["anyOf"]])
    elif "enum" in schema:
        right = st.sampled_from(schema["enum"])
    elif schema["type"] == "array":
        right = st.lists(part(schema["items"]), max_size=3)
    elif schema["type"] == "object":
        return whole(schema)
    else:
        right = SCALARS[schema["type"]]
    return st.one_of(right, right, right, right, ANYTHING)


def part(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    return st.deferred(lambda: nearly(schema))


def whole(schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects, most with what is required, some with a property too many."""
    if "$ref" in schema:
        return whole(COMPONENTS[schema["$ref"].rpartition("/")[2]])
    properties = {name: part(item) for name, item in schema["properties"].items()}
    required = {name: properties[name] for name in schema.get("required", ())}
    others = {name: item for name, item in properties.items() if name not in required}
    full = st.fixed_dictionaries(required, optional=others | {"extra": ANYTHING})
    return st.one_of(full, full, full, st.fixed_dictionaries({}, optional=properties))


def without_hints(schema: Any) -> Any:
    """The schema without its discriminators, which the reference reads in a way of its own."""
    if isinstance(schema, dict):
        return {key: without_hints(value) for key, value in schema.items() if key != "discriminator"}
    return [without_hints(value) for value in schema] if isinstance(schema, list) else schema


REFERENCE = without_hints(BUNDLE)


@pytest.mark.parametrize("name", ["Message", "Block", "Speaker", "Tool", "Tree", "Limits", "Derived"])
@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_agrees_with_the_slow_reference(name: str, data: st.DataObject) -> None:
    """The verdict is that of the plain OpenAPI 3.0 validator, for which a discriminator is but a hint."""
    value = data.draw(nearly(ref(name)))
    reference = OAS30Validator({**ref(name), **REFERENCE})
    assert (fault(ref(name), value) is None) == reference.is_valid(value)
