"""The contract keeps its rules; and each rule is shown to notice a document that breaks it."""

import copy
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools import rules_files, rules_operations, rules_schemas
from tools.bundle import Bundle, Part
from tools.contract import Contract
from tools.lint_spec import RULES, Rule, lint

Document = dict[str, Any]

SOURCE = Path("/openapi")
HEADERS = {"X-Request-ID": {"schema": {"type": "string"}}}
PROBLEM = {"description": "d", "headers": HEADERS}
LATER = {"description": "d", "headers": HEADERS | {"Retry-After": {"schema": {"type": "string"}}}}
UNAUTHORIZED = {"description": "d", "headers": HEADERS | {"WWW-Authenticate": {"schema": {"type": "string"}}}}


def part(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


def document(path: str, operation_id: str) -> Document:
    """A small document that breaks no rule."""
    media_type = {"schema": part("schemas", "Thing"), "examples": {"one": part("examples", "Leaf")}}
    problems = dict.fromkeys(
        ("400", "403", "404", "413", "415", "500", "502", "504", "529", "default"), PROBLEM
    )
    answer = {
        "description": "d",
        "headers": HEADERS,
        "content": {"application/json": media_type, "text/event-stream": {}},
        "links": {"again": {"operationId": operation_id}},
    }
    limit = (
        {"type": "integer", "minimum": 1, "maximum": 9}
        if operation_id == "create_thing"
        else {"type": "integer"}
    )
    responses = {"200": answer, "401": UNAUTHORIZED, "429": LATER, "503": LATER, **problems}
    operation = {
        "operationId": operation_id,
        "summary": "s",
        "description": "d",
        "tags": ["things"],
        "x-gateway": {"sdk": ["things.create", "beta.things.create"], "stream": "sse", "scope": "messages"},
        "parameters": [{"name": "limit", "in": "query", "description": "d", "schema": limit}],
        "requestBody": {"content": {"application/json": copy.deepcopy(media_type)}},
        "responses": copy.deepcopy(responses),
    }
    place: Document = {"name": "id", "in": "path", "required": True, "description": "d", "example": "x"}
    place["schema"] = {"type": "string"}
    return {
        "openapi": "3.0.3",
        "info": {"title": "T", "version": "1.0.0"},
        "tags": [{"name": "things", "description": "d"}],
        "security": [{"ApiKey": []}, {"Bearer": []}],
        "paths": {path: {"parameters": [place], "post": operation}},
        "components": {
            "schemas": {
                "Thing": {
                    "oneOf": [part("schemas", "Leaf"), part("schemas", "UnknownThing")],
                    "discriminator": {
                        "propertyName": "type",
                        "mapping": {"leaf": part("schemas", "Leaf")["$ref"]},
                    },
                },
                "Leaf": {
                    "type": "object",
                    "required": ["type"],
                    "properties": {
                        "type": {"type": "string", "enum": ["leaf"]},
                        "model": {"type": "string"},
                        "size": {"type": "string", "nullable": True, "enum": ["s", None]},
                    },
                },
                "UnknownThing": {
                    "type": "object",
                    "required": ["type"],
                    "properties": {"type": {"type": "string", "not": {"enum": ["leaf"]}}},
                },
            },
            "examples": {"Leaf": {"value": {"type": "leaf", "model": "m"}}},
            "securitySchemes": {
                "ApiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "Bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


class Draft:
    """The two documents, with short ways to the places that the cases below break."""

    def __init__(self) -> None:
        self.native = document("/things/{id}", "things_create")
        self.envelope = document("/api/v1/things/{id}", "create_thing")

    @property
    def item(self) -> Document:
        item: Document = self.native["paths"]["/things/{id}"]
        return item

    @property
    def operation(self) -> Document:
        operation: Document = self.item["post"]
        return operation

    @property
    def wrapped(self) -> Document:
        operation: Document = self.envelope["paths"]["/api/v1/things/{id}"]["post"]
        return operation

    @property
    def gateway(self) -> Document:
        extension: Document = self.operation["x-gateway"]
        return extension

    @property
    def body(self) -> Document:
        media_type: Document = self.operation["requestBody"]["content"]["application/json"]
        return media_type

    @property
    def schemas(self) -> Document:
        schemas: Document = self.native["components"]["schemas"]
        return schemas

    def contract(self, folder: str = "things", source: Path = SOURCE) -> Contract:
        bundles = {
            dialect: Bundle(
                joined, set(), dict.fromkeys(joined["paths"], source / dialect / folder / "item.yaml")
            )
            for dialect, joined in (("native", self.native), ("envelope", self.envelope))
        }
        return Contract(source, bundles)


Case = tuple[Rule, Callable[[Draft], Any], str]
o, s, f = rules_operations, rules_schemas, rules_files
CASES: list[Case] = [
    (o.operation_ids_are_unique, lambda d: d.operation.pop("operationId"), "has no operationId"),
    (o.operation_ids_are_unique, lambda d: d.wrapped.update(operationId="things_create"), "is used 2 times"),
    (
        o.native_operation_ids_follow_the_sdk,
        lambda d: d.operation.update(operationId="beta_things_create"),
        "must be things_create",
    ),
    (
        o.envelope_operation_ids_are_verb_noun,
        lambda d: d.wrapped.update(operationId="thing_create"),
        "'thing_create' must fit",
    ),
    (o.one_tag_that_is_the_folder, lambda d: d.operation.update(tags=["things", "more"]), "must be [things]"),
    (o.one_tag_that_is_the_folder, lambda d: d.operation.update(tags=["other"]), "must be [things]"),
    (o.one_tag_that_is_the_folder, lambda d: d.operation.pop("tags"), "not []"),
    (o.tags_are_described, lambda d: d.native["tags"][0].pop("description"), "tag 'things' is not described"),
    (
        o.tags_are_described,
        lambda d: d.native["tags"].append({"name": "x", "description": "d"}),
        "tag 'x' is not used",
    ),
    (o.operations_are_described, lambda d: d.operation.pop("summary"), "has no summary"),
    (o.operations_are_described, lambda d: d.operation.update(description=" "), "has no description"),
    (
        o.operations_are_described,
        lambda d: d.operation["parameters"][0].pop("description"),
        "parameter limit has no",
    ),
    (o.x_gateway_is_known, lambda d: d.operation.pop("x-gateway"), "has no x-gateway"),
    (o.x_gateway_is_known, lambda d: d.operation.update({"x-other": 1}), "x-other is not ours"),
    (o.x_gateway_is_known, lambda d: d.gateway.update(bucket=1), "x-gateway.bucket is unknown"),
    (o.x_gateway_is_known, lambda d: d.gateway.update(scope="all"), "x-gateway.scope must be one of"),
    (o.x_gateway_is_known, lambda d: d.gateway.update(forward="yes"), "x-gateway.forward must be one of"),
    (o.x_gateway_is_known, lambda d: d.gateway.update(audit=False), "x-gateway.audit must be one of"),
    (o.x_gateway_is_known, lambda d: d.gateway.update(sdk=["create"]), "must be a list of SDK method paths"),
    (o.sdk_methods_are_named, lambda d: d.gateway.pop("sdk"), "x-gateway.sdk is missing"),
    (o.sdk_methods_are_named, lambda d: d.operation.update(tags=["system"]), "system is the gateway's own"),
    (o.streams_are_declared, lambda d: d.gateway.pop("stream"), "x-gateway.stream is None"),
    (o.streams_are_declared, lambda d: d.gateway.update(stream="jsonl"), "x-gateway.stream is jsonl"),
    (o.keys_are_demanded, lambda d: d.gateway.pop("scope"), "must say security: []"),
    (o.keys_are_demanded, lambda d: d.operation.update(security=[]), "left to the root"),
    (o.keys_are_demanded, lambda d: d.native.update(security=[{"ApiKey": []}]), "must be ApiKey or Bearer"),
    (o.errors_are_declared, lambda d: d.operation["responses"].pop("default"), "lack default"),
    (o.errors_are_declared, lambda d: d.operation["responses"].pop("429"), "lack 429"),
    (o.errors_are_declared, lambda d: d.operation["responses"].pop("404"), "lack 404"),
    (o.errors_are_declared, lambda d: d.operation["responses"].pop("413"), "lack 413"),
    (o.errors_are_declared, lambda d: d.operation["responses"].pop("529"), "lack 529"),
    (
        o.errors_have_headers,
        lambda d: d.operation["responses"].update({"400": {"description": "d"}}),
        "X-Request-ID",
    ),
    (
        o.errors_have_headers,
        lambda d: d.operation["responses"].update({"429": PROBLEM}),
        "429 lacks the header Retry-After",
    ),
    (
        o.errors_have_headers,
        lambda d: d.operation["responses"].update({"503": PROBLEM}),
        "503 lacks the header Retry-After",
    ),
    (o.errors_have_headers, lambda d: d.operation["responses"].update({"401": PROBLEM}), "WWW-Authenticate"),
    (o.path_parameters_are_declared, lambda d: d.item.pop("parameters"), "path parameter id is not declared"),
    (
        o.path_parameters_are_declared,
        lambda d: d.item["parameters"][0].update(name="key"),
        "parameter id is not declared",
    ),
    (
        o.envelope_queries_are_bounded,
        lambda d: d.wrapped["parameters"][0]["schema"].pop("maximum"),
        "limit has no bounds",
    ),
    (
        o.envelope_queries_are_bounded,
        lambda d: d.wrapped["parameters"][0].update(schema={}),
        "limit has no bounds",
    ),
    (
        o.native_parameters_are_unbounded,
        lambda d: d.operation["parameters"][0]["schema"].update(minimum=1),
        "by minimum",
    ),
    (
        o.links_lead_somewhere,
        lambda d: d.operation.update(operationId="things_make"),
        "no operation things_create",
    ),
    (s.examples_are_named, lambda d: d.body.update(example={}), "not `example`"),
    (s.examples_show_how, lambda d: d.body.pop("examples"), "request has no example"),
    (s.examples_show_how, lambda d: d.item["parameters"][0].pop("example"), "parameter id has no example"),
    (
        s.examples_show_how,
        lambda d: d.operation["parameters"][0].update(example=3),
        "limit: the page would send",
    ),
    (s.examples_are_named, lambda d: d.body["examples"].update(two={"value": {}}), "must be a $ref"),
    (
        s.examples_fit_their_schema,
        lambda d: d.schemas["Leaf"]["required"].append("size"),
        "example one: 'size' is a required",
    ),
    (
        s.examples_fit_their_schema,
        lambda d: d.schemas["Leaf"].update(example=5),
        "example example: must be object",
    ),
    (s.unions_are_mapped, lambda d: d.schemas["Thing"]["oneOf"].insert(0, {}), "must name every member"),
    (
        s.unions_are_mapped,
        lambda d: d.schemas["Thing"]["discriminator"].pop("mapping"),
        "must name every member",
    ),
    (s.unions_by_type_are_open, lambda d: d.schemas["Thing"]["oneOf"].pop(), "an open one called Unknown…"),
    (
        s.unions_by_type_are_open,
        lambda d: d.schemas["UnknownThing"]["properties"]["type"].update({"not": {"enum": ["other"]}}),
        "must exclude leaf",
    ),
    (
        s.unions_by_type_are_open,
        lambda d: d.schemas["UnknownThing"].pop("required"),
        "require the string type",
    ),
    (
        s.union_members_pin_their_tag,
        lambda d: d.schemas["Leaf"].pop("required"),
        "must require type with enum [leaf]",
    ),
    (
        s.union_members_pin_their_tag,
        lambda d: d.schemas["Leaf"]["properties"]["type"].pop("enum"),
        "must require type with enum [leaf]",
    ),
    (
        s.models_are_never_enumerated,
        lambda d: d.schemas["Leaf"]["properties"]["model"].update(enum=["m"]),
        "model",
    ),
    (
        s.models_are_never_enumerated,
        lambda d: d.operation["parameters"][0].update(name="model", schema={"enum": ["m"]}),
        "a model must not be an enum",
    ),
    (
        s.nullable_enums_list_null,
        lambda d: d.schemas["Leaf"]["properties"]["size"].update(enum=["s"]),
        "list null",
    ),
    (s.directions_have_schemas_of_their_own, lambda d: d.schemas["Leaf"].update(readOnly=True), "readOnly"),
    (
        s.event_streams_are_empty,
        lambda d: d.operation["responses"]["200"]["content"].update({"text/event-stream": {"schema": {}}}),
        "must be an empty media type",
    ),
    (
        s.envelope_media_types_are_plain,
        lambda d: d.wrapped["responses"]["200"]["content"].update({"*/*": {}}),
        "breaks client generators",
    ),
    (
        s.envelope_media_types_are_plain,
        lambda d: d.wrapped["responses"]["200"]["content"].update({"application/yaml": {}}),
        "breaks client generators",
    ),
    (
        f.path_items_hold_their_operations,
        lambda d: d.item.update(post=part("responses", "X")),
        "must not be a $ref",
    ),
    (f.versions_agree, lambda d: d.native["info"].update(version="1.0.1"), "1.0.0, 1.0.1"),
    (f.documents_are_openapi, lambda d: d.native.update(openapi="3.1.0"), "must be 3.0.3"),
    (
        f.documents_are_openapi,
        lambda d: d.operation["responses"]["400"].pop("description"),
        "/post/responses/400: ",
    ),
]


def test_the_contract_keeps_its_rules() -> None:
    assert lint(Contract.read()) == []


@pytest.mark.parametrize("rule", [case for case in RULES if case not in (f.parts_are_used, f.files_are_used)])
def test_a_sound_document_passes(rule: Rule) -> None:
    assert list(rule(Draft().contract())) == []


@pytest.mark.parametrize(
    ("rule", "spoil", "words"), CASES, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_breach_is_noticed(rule: Rule, spoil: Callable[[Draft], Any], words: str) -> None:
    draft = Draft()
    spoil(draft)
    breaches = list(rule(draft.contract()))
    assert breaches
    assert words in breaches[0]


def test_a_part_and_a_file_that_nothing_uses_are_noticed(tmp_path: Path) -> None:
    for name, text in {
        "native.yaml": "{}",
        "native/things/item.yaml": "{}",
        "native/things/schemas.yaml": "{Used: {}, Unused: {}}",
        "native/things/old.yaml": "{}",
        "shared/headers.yml": "{}",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    contract = Draft().contract(source=tmp_path)
    contract.bundles["native"].parts.add(Part(tmp_path / "native/things/schemas.yaml", "Used"))
    assert list(f.parts_are_used(contract)) == ["native/things/schemas.yaml: Unused is used by nothing"]
    assert list(f.files_are_used(contract)) == [
        "native/things/old.yaml: no root names this path item",
        "shared/headers.yml: no root names this path item",
    ]


def test_every_rule_is_stated_and_tried() -> None:
    assert all(rule.__doc__ for rule in RULES)
    tried = {rule for rule, _, _ in CASES} | {f.parts_are_used, f.files_are_used}
    assert tried == set(RULES)
    functions = [
        function
        for module in (o, s, f)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    ]
    assert set(functions) == set(RULES)
