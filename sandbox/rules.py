"""What Anthropic refuses although it fits the schema. Each rule raises `ApiError` 400, worded as there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jsonschema_rs

from sandbox.errors import ApiError, invalid
from sandbox.models import Model
from sandbox.prompts import Body, Segment, blocks
from sandbox.signatures import is_forged

_SAMPLING = ("temperature", "top_p", "top_k")
_NO_SAMPLING = "2026-10-21"
"""The first API version without sampling parameters, the assistant's documents, citations on user text."""
_MAX_BREAKPOINTS = 4
_MIN_THINKING = 1024


@dataclass(frozen=True, slots=True)
class Case:
    """A request as the rules see it."""

    body: Body
    model: Model
    version: str
    prompt: list[Segment]

    @property
    def said(self) -> list[Segment]:
        """The blocks of the conversation's turns."""
        return [segment for segment in self.prompt if segment.role in {"user", "assistant"}]

    @property
    def strict(self) -> bool:
        """Whether the API version is one that dropped the old allowances."""
        return self.version >= _NO_SAMPLING


def check(case: Case, *, counting: bool = False) -> None:
    """Applies the rules; `counting` leaves out those on the answer, which count_tokens does not know."""
    for rule in _COMMON if counting else _COMMON + _GENERATING:
        rule(case)


def has_messages(case: Case) -> None:
    """A conversation needs a message, and no empty one before its end."""
    messages = case.body["messages"]
    if not messages:
        raise invalid("messages: at least one message is required")
    for index, message in enumerate(messages[:-1]):
        if not message.get("content") and message["role"] != "system":
            raise invalid(
                f"messages.{index}: all messages must have non-empty content except for the optional final "
                "assistant message"
            )
    if messages[-1]["role"] == "user" and not messages[-1]["content"]:
        raise invalid(f"messages.{len(messages) - 1}: user messages must have non-empty content")


def texts_are_not_empty(case: Case) -> None:
    """A text block must say something; a string of no characters is judged as an empty message instead."""
    for segment in case.said:
        if segment.block.get("type") == "text" and not segment.block["text"]:
            raise invalid("messages: text content blocks must be non-empty")


def sampling_fits_version(case: Case) -> None:
    """New API versions know no sampling parameters; thinking leaves temperature no choice."""
    for name in _SAMPLING:
        if case.strict and name in case.body:
            raise invalid(f"{name}: Extra inputs are not permitted")
    if _thinks(case) and case.body.get("temperature", 1) != 1:
        raise invalid("`temperature` may only be set to 1 when thinking is enabled")


def blocks_fit_version(case: Case) -> None:
    """New API versions take no documents from the assistant and no citations on user text."""
    if not case.strict:
        return
    for segment in case.said:
        kind = segment.block.get("type")
        if segment.role == "assistant" and kind == "document":
            raise invalid("messages: `document` blocks are not permitted in assistant messages")
        if segment.role == "user" and kind == "text" and segment.block.get("citations"):
            raise invalid("messages: `citations` are not permitted on text blocks in user messages")


def tools_pair_up(case: Case) -> None:
    """Each tool use is answered in the next message, and each result answers a use in the one before."""
    open_ids: list[str] = []
    for index, message in enumerate(case.body["messages"]):
        if message["role"] == "system":
            continue
        content = blocks(message["content"])
        results = [block["tool_use_id"] for block in content if block.get("type") == "tool_result"]
        missing = [one for one in open_ids if one not in results]
        if missing:
            raise _unanswered(index - 1, missing)
        for position, one in enumerate(results):
            if one not in open_ids:
                raise invalid(
                    f"messages.{index}.content.{position}: unexpected `tool_use_id` found in `tool_result` "
                    f"blocks: {one}. Each `tool_result` block must have a corresponding `tool_use` block in "
                    "the previous message."
                )
        open_ids = [block["id"] for block in content if block.get("type") == "tool_use"]
    if open_ids:
        raise _unanswered(len(case.body["messages"]) - 1, open_ids)


def tools_are_distinct(case: Case) -> None:
    """A name stands for one tool, and a forced tool must be there."""
    names = [tool["name"] for tool in case.body.get("tools") or () if isinstance(tool.get("name"), str)]
    if len(set(names)) != len(names):
        raise invalid("tools: Tool names must be unique.")
    choice: dict[str, Any] = case.body.get("tool_choice") or {}
    if choice.get("type") == "tool" and choice.get("name") not in names:
        raise invalid(f"Tool '{choice.get('name')}' not found in provided tools")
    if choice.get("type") == "any" and not names:
        raise invalid("tool_choice: `any` may only be specified while providing `tools`")


def schemas_are_valid(case: Case) -> None:
    """The schemas of tools and of structured outputs are JSON Schema."""
    for index, tool in enumerate(case.body.get("tools") or ()):
        if "input_schema" in tool and not jsonschema_rs.meta.is_valid(tool["input_schema"]):
            raise invalid(f"tools.{index}.input_schema: JSON schema is invalid")
    structure = (case.body.get("output_config") or {}).get("format") or {}
    if "schema" in structure and not jsonschema_rs.meta.is_valid(structure["schema"]):
        raise invalid("output_config.format.schema: JSON schema is invalid")


def thinking_fits(case: Case) -> None:
    """Thinking needs a model that can, room to think in, and freedom not to call a tool."""
    thinking: dict[str, Any] = case.body.get("thinking") or {}
    if not _thinks(case):
        return
    if not case.model.thinking:
        raise invalid(f"{case.model.id} does not support thinking")
    if (case.body.get("tool_choice") or {}).get("type") in {"any", "tool"}:
        raise invalid("Thinking may not be enabled when tool_choice forces tool use.")
    if thinking["type"] == "enabled" and thinking["budget_tokens"] < _MIN_THINKING:
        raise invalid(
            f"thinking.enabled.budget_tokens: Input should be greater than or equal to {_MIN_THINKING}"
        )


def thinking_is_unchanged(case: Case) -> None:
    """A thinking block comes back as it was given."""
    for segment in case.said:
        block = segment.block
        if block.get("type") == "thinking" and is_forged(block["thinking"], block["signature"]):
            raise invalid("messages: Invalid `signature` in `thinking` block")


def breakpoints_fit(case: Case) -> None:
    """Four cache breakpoints at most, the long-lived ones first."""
    ttls = [segment.ttl for segment in case.prompt if segment.ttl]
    if len(ttls) > _MAX_BREAKPOINTS:
        raise invalid(
            f"A maximum of {_MAX_BREAKPOINTS} blocks with cache_control may be provided. Found {len(ttls)}."
        )
    if "5m" in ttls and "1h" in ttls[ttls.index("5m") :]:
        raise invalid("a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block")


def length_fits(case: Case) -> None:
    """The answer's length is bounded by the model, and thinking must leave room for it."""
    max_tokens, limit = case.body["max_tokens"], case.model.max_tokens
    if max_tokens < 0:
        raise invalid("max_tokens: Input should be greater than or equal to 0")
    if max_tokens > limit:
        raise invalid(
            f"max_tokens: {max_tokens} > {limit}, which is the maximum allowed number of output tokens for "
            f"{case.model.id}"
        )
    thinking: dict[str, Any] = case.body.get("thinking") or {}
    if thinking.get("type") == "enabled" and max_tokens <= thinking["budget_tokens"]:
        raise invalid("`max_tokens` must be greater than `thinking.budget_tokens`")


def prefill_fits(case: Case) -> None:
    """Newer models do not continue an answer that the caller began."""
    if case.body["messages"][-1]["role"] == "assistant" and not case.model.prefill:
        raise invalid(
            "This model does not support assistant message prefill. The conversation must end with a user "
            "message."
        )


def _unanswered(index: int, ids: list[str]) -> ApiError:
    return invalid(
        f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: "
        f"{', '.join(ids)}. Each `tool_use` block must have a corresponding `tool_result` block in the next "
        "message."
    )


def _thinks(case: Case) -> bool:
    return (case.body.get("thinking") or {}).get("type") in {"enabled", "adaptive"}


Rule = Callable[[Case], None]

_COMMON: tuple[Rule, ...] = (
    has_messages,
    texts_are_not_empty,
    sampling_fits_version,
    blocks_fit_version,
    tools_pair_up,
    tools_are_distinct,
    schemas_are_valid,
    thinking_fits,
    thinking_is_unchanged,
    breakpoints_fit,
)
_GENERATING: tuple[Rule, ...] = (length_fits, prefill_fits)
