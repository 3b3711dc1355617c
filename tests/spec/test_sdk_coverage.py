"""The native spec has every operation of the installed `anthropic` package, and tells the truth of each."""

import copy
import json
import re
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import pytest
from pydantic import TypeAdapter

import openapi
from tools.sdk_draft import draft
from tools.sdk_methods import Kind
from tools.sdk_operations import SdkOperation, operations
from tools.sdk_surface import faults, find, main

Document = dict[str, Any]

OPERATIONS = operations()
NATIVE = openapi.load("native")
VERBS = ("get", "post", "put", "patch", "delete")


def resolve(part: Document) -> Document:
    while "$ref" in part:
        _, _, kind, name = part["$ref"].split("/")
        part = NATIVE["components"][kind][name]
    return part


def sdk_operations(document: Document) -> list[Document]:
    found = [item[verb] for item in document["paths"].values() for verb in VERBS if verb in item]
    return [operation for operation in found if "sdk" in operation["x-gateway"]]


def test_the_spec_and_the_installed_sdk_agree() -> None:
    assert list(faults(NATIVE, OPERATIONS)) == []
    assert len(sdk_operations(NATIVE)) == len(OPERATIONS)


def test_the_command_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "every operation" in capsys.readouterr().err


def test_the_reader_misses_no_path_of_the_sdk() -> None:
    source = Path(anthropic.__file__).parent / "resources"
    routes = {
        route
        for file in source.rglob("*.py")
        for route in re.findall(r'span_route="([^"]+)"', file.read_text(encoding="utf-8"))
    }

    assert {operation.path for operation in OPERATIONS} == routes


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_an_operation_that_the_spec_lost_is_missed(operation: SdkOperation) -> None:
    document = copy.copy(NATIVE)
    path = operation.path.removeprefix("/v1")
    item = {key: value for key, value in NATIVE["paths"][path].items() if key != operation.method.lower()}
    document["paths"] = {**NATIVE["paths"], path: item}

    assert f"{operation}: the spec lacks {', '.join(operation.names)}" in list(faults(document, OPERATIONS))


def rename_sdk_method(content: Document) -> None:
    content["x-gateway"]["sdk"] = ["messages.sing"]


def answer_events_only(content: Document) -> None:
    content["responses"]["200"]["content"] = {"text/event-stream": {}}


def take_json(content: Document) -> None:
    content["requestBody"]["content"] = {"application/json": {"schema": {"type": "object"}}}


def drop_parameters(content: Document) -> None:
    content["parameters"] = []


@pytest.mark.parametrize(
    ("path", "verb", "spoil", "complaint"),
    [
        ("/messages", "post", rename_sdk_method, "x-gateway.sdk lacks messages.create"),
        ("/messages", "post", rename_sdk_method, "x-gateway.sdk says messages.sing"),
        ("/messages", "post", answer_events_only, "answers sse, but the SDK reads json, sse"),
        ("/files/{file_id}/content", "get", answer_events_only, "answers sse, but the SDK reads binary"),
        ("/files", "post", take_json, "takes application/json, but the SDK sends multipart/form-data"),
        ("/files", "get", drop_parameters, "lacks the query parameter ids[]"),
        ("/files", "get", drop_parameters, "lacks the header anthropic-beta"),
    ],
)
def test_a_wrong_operation_is_told(
    path: str, verb: str, spoil: Callable[[Document], None], complaint: str
) -> None:
    document = copy.deepcopy(NATIVE)
    spoil(document["paths"][path][verb])

    assert any(complaint in fault for fault in faults(document, OPERATIONS))


def test_a_draft_says_all_that_the_sdk_needs() -> None:
    """What `tools.sdk_surface` prints for a new operation passes this very test once it is pasted."""
    document: Document = {"components": NATIVE["components"], "paths": {}}
    for operation in OPERATIONS:
        content = json.dumps(draft(operation))
        inlined = re.sub(r'"[./a-z]*/(\w+)\.yaml#/(\w+)"', r'"#/components/\1/\2"', content)
        item = document["paths"].setdefault(operation.path.removeprefix("/v1"), {})
        item[operation.method.lower()] = json.loads(inlined)
    assert list(faults(document, OPERATIONS)) == []


def test_the_envelope_names_methods_that_exist() -> None:
    envelope = sdk_operations(openapi.load("envelope"))
    named = {name for content in envelope for name in content["x-gateway"]["sdk"]}
    existing = {method.name for one in OPERATIONS for method in (*one.methods, *one.helpers)}

    assert named - existing == set()


def answer_types(operation: SdkOperation) -> list[Any]:
    """The SDK's models of the JSON answer, without the streams that it may also be."""
    found = []
    for method in operation.methods:
        is_union = typing.get_origin(method.returns) in (typing.Union, types.UnionType)
        members = typing.get_args(method.returns) if is_union else [method.returns]
        models = [one for one in members if typing.get_origin(one) is not anthropic.Stream]
        found.append(typing.Union[tuple(models)])  # noqa: UP007 - of a list
    return found


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if Kind.JSON in one.kinds], ids=str)
def test_the_examples_are_what_the_sdk_expects(operation: SdkOperation) -> None:
    content = find(NATIVE, operation)
    assert content is not None
    examples = resolve(content["responses"]["200"])["content"]["application/json"]["examples"]

    assert examples
    for example in examples.values():
        for answer in answer_types(operation):
            TypeAdapter(answer).validate_python(resolve(example)["value"])
