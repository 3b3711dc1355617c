"""The schemas of messages and models know every type of the installed SDK, and stay open for newer ones."""

from typing import Any, get_args

import pytest
from anthropic import types as ga
from anthropic.types import beta, message_count_tokens_params, message_create_params
from anthropic.types.beta import message_count_tokens_params as beta_count_params
from anthropic.types.beta import message_create_params as beta_create_params

import openapi
from openapi.validation import Schemas, Validator
from tests.spec.sdk_values import Values, is_object, tags

HEADERS = frozenset({"betas", "user_profile_id", "workspace_id"})
"""What the SDK takes as arguments beside the body's fields, and sends as headers."""

SDK_TYPES = [
    ("CreateMessageRequest", message_create_params.MessageCreateParamsNonStreaming),
    ("CreateMessageRequest", beta_create_params.MessageCreateParamsNonStreaming),
    ("CountTokensRequest", message_count_tokens_params.MessageCountTokensParams),
    ("CountTokensRequest", beta_count_params.MessageCountTokensParams),
    ("Message", ga.Message),
    ("Message", beta.BetaMessage),
    ("MessageTokensCount", ga.MessageTokensCount),
    ("MessageTokensCount", beta.BetaMessageTokensCount),
    ("MessageStreamEvent", ga.RawMessageStreamEvent),
    ("MessageStreamEvent", beta.BetaRawMessageStreamEvent),
    ("ModelInfo", ga.ModelInfo),
    ("ModelInfo", beta.BetaModelInfo),
]
IDS = [f"{schema}-{'ga' if index % 2 == 0 else 'beta'}" for index, (schema, _) in enumerate(SDK_TYPES)]

MAY_BE_MISSING = {
    # The SDK has a type for each direction, and one direction lets the field be absent.
    "CitationCharLocationParam.document_title",
    "CitationContentBlockLocationParam.document_title",
    "CitationPageLocationParam.document_title",
    "CitationSearchResultLocationParam.title",
    "CitationWebSearchResultLocationParam.title",
    "CitationConfig.enabled",
    "CitationsConfig.enabled",
    "FallbackBlock.trigger",
    "MCPToolResultBlock.content",
    "MCPToolResultBlock.is_error",
    # The beta type lets it be absent, the other one does not.
    "SystemMessageParam.content",
    # Older API versions do not send it.
    "ModelInfo.lifecycle",
}

JSON_SCHEMA = "object"
"""The `type` of a tool's input schema, which is a JSON Schema and not told apart by it."""

TEXT_REQUEST = {"model": "any", "max_tokens": 1, "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(scope="module")
def native() -> dict[str, Any]:
    return openapi.load("native")


@pytest.fixture(scope="module")
def native_schemas(native: dict[str, Any]) -> Schemas:
    return Schemas(native)


@pytest.fixture(scope="module")
def envelope_schemas() -> Schemas:
    return Schemas(openapi.load("envelope"))


def named(schemas: Schemas, name: str) -> Validator:
    return schemas.validator(f"#/components/schemas/{name}")


@pytest.mark.parametrize(("schema", "sdk_type"), SDK_TYPES, ids=IDS)
def test_what_the_sdk_allows_fits(native_schemas: Schemas, schema: str, sdk_type: Any) -> None:
    validator = named(native_schemas, schema)
    values = list(Values(without=HEADERS).right(sdk_type))
    assert values
    assert [(value, error) for value in values if (error := validator.error(value))] == []


@pytest.mark.parametrize(("schema", "sdk_type"), SDK_TYPES, ids=IDS)
def test_each_fault_in_a_known_type_is_found(native_schemas: Schemas, schema: str, sdk_type: Any) -> None:
    validator = named(native_schemas, schema)
    faults = list(Values(without=HEADERS).wrong(sdk_type))
    assert faults
    missed = [fault.place for fault in faults if validator.is_valid(fault.value)]
    assert [place for place in missed if place.removesuffix(" is missing") not in MAY_BE_MISSING] == []


@pytest.mark.parametrize(("schema", "sdk_type"), SDK_TYPES, ids=IDS)
def test_each_kind_of_the_sdk_is_written_in_the_contract(
    native: dict[str, Any], schema: str, sdk_type: Any
) -> None:
    known = written_tags(native["components"]["schemas"])
    assert tags(sdk_type) - known - {JSON_SCHEMA} == set()


def written_tags(schemas: dict[str, Any]) -> set[str]:
    """Every value that a schema of the contract pins its `type` or `role` to."""
    parts = [part for schema in schemas.values() for part in (schema, *schema.get("allOf", ()))]
    pinned = [part.get("properties", {}).get(name, {}) for part in parts for name in ("type", "role")]
    return {value for schema in pinned for value in schema.get("enum", ())}


@pytest.mark.parametrize("stop_reasons", [ga.StopReason, beta.BetaStopReason], ids=["ga", "beta"])
def test_each_stop_reason_of_the_sdk_is_written_in_the_contract(
    native: dict[str, Any], stop_reasons: Any
) -> None:
    written = native["components"]["schemas"]["StopReason"]["anyOf"][0]["enum"]
    assert set(get_args(stop_reasons)) - set(written) == set()


@pytest.mark.parametrize(
    "change",
    [
        {"newer_field": {"any": "thing"}},
        {"model": "claude-of-next-year"},
        {"tools": [{"type": "newer_tool_20300101", "name": "newer"}]},
        {"tool_choice": {"type": "newer"}},
        {"thinking": {"type": "newer"}},
        {"output_config": {"effort": "newer"}},
        {"cache_control": {"type": "newer"}},
        {"context_management": {"edits": [{"type": "newer_20300101"}]}},
        {"messages": [{"role": "user", "content": [{"type": "newer_block"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello", "newer_field": 1}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "newer"}}]}]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_newer_in_a_request_passes(native_schemas: Schemas, change: dict[str, Any]) -> None:
    assert named(native_schemas, "CreateMessageRequest").error({**TEXT_REQUEST, **change}) is None


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ("ContentBlock", {"type": "newer_block"}),
        ("ContentBlockDelta", {"type": "newer_delta"}),
        ("MessageStreamEvent", {"type": "newer_event"}),
        ("StopReason", "newer_reason"),
        ("Citation", {"type": "newer_location"}),
        ("UsageIteration", {"type": "newer_iteration"}),
    ],
)
def test_what_is_newer_in_an_answer_passes(native_schemas: Schemas, schema: str, value: Any) -> None:
    assert named(native_schemas, schema).error(value) is None


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"max_tokens": -1}, "/max_tokens"),
        ({"temperature": 1.5}, "/temperature"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1023}}, "/thinking/budget_tokens"),
        ({"messages": [{"role": "narrator", "content": "Hello"}]}, "/messages/0/role"),
        ({"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}, "/messages/0/content/0"),
        ({"tools": [{"type": "bash_20250124", "name": "shell"}]}, "/tools/0"),
        ({"tools": [{"name": "no_schema"}]}, "/tools/0"),
    ],
)
def test_a_fault_is_named_by_its_place(native_schemas: Schemas, change: dict[str, Any], pointer: str) -> None:
    error = named(native_schemas, "CreateMessageRequest").error({**TEXT_REQUEST, **change})
    assert error is not None
    assert error.pointer.startswith(pointer)


def test_native_demands_max_tokens_and_the_envelope_does_not(
    native_schemas: Schemas, envelope_schemas: Schemas
) -> None:
    request = {key: value for key, value in TEXT_REQUEST.items() if key != "max_tokens"}
    assert named(native_schemas, "CreateMessageRequest").error(request) is not None
    assert named(envelope_schemas, "MessageRequest").error(request) is None


@pytest.mark.parametrize("schema", ["WholeMessageRequest", "StreamMessageRequest", "TokensCountRequest"])
@pytest.mark.parametrize("choice", ["auto", "any", "none", {"type": "tool", "name": "gauge"}])
def test_the_envelope_takes_a_word_for_a_tool_choice(
    envelope_schemas: Schemas, schema: str, choice: Any
) -> None:
    assert named(envelope_schemas, schema).error({**TEXT_REQUEST, "tool_choice": choice}) is None


@pytest.mark.parametrize("choice", ["tool", "", 1, {"type": "tool"}, {}])
def test_the_envelope_refuses_what_is_no_tool_choice(envelope_schemas: Schemas, choice: Any) -> None:
    error = named(envelope_schemas, "WholeMessageRequest").error({**TEXT_REQUEST, "tool_choice": choice})
    assert error is not None
    assert error.pointer.startswith("/tool_choice")


@pytest.mark.parametrize(
    ("schema", "stream", "fits"),
    [
        ("WholeMessageRequest", False, True),
        ("WholeMessageRequest", True, False),
        ("StreamMessageRequest", False, True),
        ("StreamMessageRequest", True, True),
        ("StreamMessageRequest", "yes", False),
    ],
)
def test_stream_is_for_its_own_operation(
    envelope_schemas: Schemas, schema: str, stream: Any, fits: bool
) -> None:
    assert named(envelope_schemas, schema).is_valid({**TEXT_REQUEST, "stream": stream}) is fits


@pytest.mark.parametrize(
    ("event", "fits"),
    [
        ({"type": "text", "text": "Hello"}, True),
        ({"type": "text"}, False),
        ({"type": "message_stop"}, False),
        ({"type": "ping"}, True),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded."}}, True),
        ({"type": "error"}, False),
    ],
)
def test_the_envelope_stream_has_events_of_its_own(
    envelope_schemas: Schemas, event: dict[str, Any], fits: bool
) -> None:
    assert named(envelope_schemas, "StreamEvent").is_valid(event) is fits


def test_values_cover_nested_types() -> None:
    """The walk that the tests above lean on reaches what lies deep, such as a tool within a tool change."""
    reached = {fault.place for fault in Values(without=HEADERS).wrong(SDK_TYPES[1][1])}
    assert "WebFetchTool20260318Param.use_cache has a wrong type" in reached
    assert "ToolChangeToolDefinitionParam.definition is missing" in reached
    assert is_object(SDK_TYPES[1][1])
