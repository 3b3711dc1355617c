"""The answer to a request: always the same one to the same request, ids and times aside."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox import tools
from sandbox.citations import citations_in
from sandbox.http import dump
from sandbox.ids import Ids
from sandbox.prompts import Block, Body, blocks, last_text, tokens_of, tool_results
from sandbox.schema_values import value_for
from sandbox.server_tools import ServerToolRun, ServerTools
from sandbox.signatures import sign

_QUOTED = 200  # characters of the prompt that an answer repeats
_MAX_WORDS = 100_000
_WORDS_WANTED = re.compile(r"\b(\d{1,6}) words\b")
_REFUSE = "ANTHROPIC_MAGIC_STRING_TRIGGER_REFUSAL"
_REDACT = "ANTHROPIC_MAGIC_STRING_TRIGGER_REDACTED_THINKING"
"""Anthropic's own test strings begin so: they bring about a refusal, and thinking that cannot be read."""


@dataclass(slots=True)
class Answer:
    """Content and end of a message."""

    content: list[Block] = field(default_factory=list)
    stop_reason: str = "end_turn"
    stop_sequence: str | None = None
    stop_details: dict[str, Any] | None = None
    container: dict[str, Any] | None = None
    server_tool_use: dict[str, int] | None = None

    @property
    def thinking_tokens(self) -> int:
        """The tokens of the thinking alone."""
        return sum(
            _tokens(block) for block in self.content if block["type"] in {"thinking", "redacted_thinking"}
        )

    @property
    def output_tokens(self) -> int:
        """All tokens that the model would have written; results of server tools are not its own."""
        return sum(map(_tokens, self.content))


class Answers:
    """Composes answers."""

    def __init__(self, ids: Ids, server_tools: ServerTools) -> None:
        self._ids = ids
        self._server_tools = server_tools

    def compose(self, body: Body, ending: str | None = None) -> Answer:
        """The answer to a request that has passed all checks.

        Args:
            body: the parsed request.
            ending: how a scenario wants the message to end, see `sandbox.scenarios.ENDINGS`.

        Raises:
            ApiError: 404 for an unknown container.
        """
        text = last_text(body)
        if ending == "refusal" or _REFUSE in text:
            return Answer(stop_reason="refusal", stop_details=_REFUSAL)
        if body["max_tokens"] == 0:
            return Answer(stop_reason="max_tokens")
        answer = Answer(_thinking(body, text))
        self._say(answer, body, text)
        _stop_at_sequence(answer, body.get("stop_sequences") or ())
        _stop_at_length(answer, body["max_tokens"])
        _end(answer, ending)
        return answer

    def _say(self, answer: Answer, body: Body, text: str) -> None:
        forced = (body.get("tool_choice") or {}).get("type") in {"any", "tool"}
        tool = None if tool_results(body) and not forced else tools.chosen(body, text)
        run: ServerToolRun | None = None
        if tool is not None and tools.family(tool) in tools.SERVER_TOOLS:
            run = self._server_tools.run(tool, text)
            answer.content += run.blocks
            answer.server_tool_use = {"web_search_requests": run.searches, "web_fetch_requests": run.fetches}
        elif tool is not None:
            self._call(answer, tool, forced=forced)
        if answer.stop_reason != "tool_use":
            answer.content.append(_text(body, text, run))
        answer.container = self._server_tools.container(body, needed=run is not None and run.uses_container)

    def _call(self, answer: Answer, tool: tools.Tool, *, forced: bool) -> None:
        name = tool["name"]
        if not forced:
            answer.content.append({"type": "text", "text": f"I will call {name}."})
        call_id = self._ids.new("toolu")
        answer.content.append(
            {
                "type": "tool_use",
                "id": call_id,
                "name": name,
                "input": tools.input_for(tool),
                "caller": {"type": "direct"},
            }
        )
        answer.stop_reason = "tool_use"


_REFUSAL = {"type": "refusal", "category": None, "explanation": "The sandbox was asked to refuse."}


def _thinking(body: Body, text: str) -> list[Block]:
    config: dict[str, Any] = body.get("thinking") or {}
    if config.get("type") not in {"enabled", "adaptive"}:
        return []
    if _REDACT in text:
        return [{"type": "redacted_thinking", "data": sign(text)}]
    thought = ""
    if config.get("display") != "omitted":
        thought = f"The user wrote {len(text)} characters. I repeat them and say where I come from."
    return [{"type": "thinking", "thinking": thought, "signature": sign(thought)}]


def _text(body: Body, text: str, run: ServerToolRun | None) -> Block:
    """The text block that ends an answer."""
    structure = (body.get("output_config") or {}).get("format") or {}
    if "schema" in structure:
        return {"type": "text", "text": dump(value_for(structure["schema"])).decode()}
    cited = run.citations if run else citations_in(body)
    if cited:
        quotes = " ".join(f"“{citation['cited_text']}”" for citation in cited)
        return {"type": "text", "text": f"The sources say: {quotes}", "citations": cited}
    return {"type": "text", "text": _reply(body, text)}


def _reply(body: Body, text: str) -> str:
    results = tool_results(body)
    if results:
        said = " ".join(
            block.get("text", "") for result in results for block in blocks(result.get("content"))
        )
        return f"The tool said: “{_shortened(said)}”"
    if " words" in text and (wanted := _WORDS_WANTED.search(text)):  # the plain search is 30 times as fast
        count = min(int(wanted[1]), _MAX_WORDS)
        return " ".join(f"word{number}" for number in range(1, count + 1))
    return f"You said: “{_shortened(text)}” This is the sandbox: no model was asked."


def _shortened(text: str) -> str:
    return text if len(text) <= _QUOTED else text[:_QUOTED] + "…"


def _stop_at_sequence(answer: Answer, sequences: Sequence[str]) -> None:
    for index, block in enumerate(answer.content):
        if block["type"] != "text":
            continue
        found = [(block["text"].find(one), one) for one in sequences if one and one in block["text"]]
        if found:
            at, sequence = min(found)
            block["text"] = block["text"][:at]
            del answer.content[index + (1 if at else 0) :]
            answer.stop_reason, answer.stop_sequence = "stop_sequence", sequence
            return


def _stop_at_length(answer: Answer, max_tokens: int) -> None:
    """Cuts the content where `max_tokens` are used up; a tool call is left out whole."""
    left = max_tokens
    for index, block in enumerate(answer.content):
        tokens = _tokens(block)
        if tokens > left:
            kept = block["type"] == "text" and left > 0
            if kept:
                block["text"] = block["text"].encode()[: left * 4].decode(errors="ignore")
            del answer.content[index + kept :]
            answer.stop_reason, answer.stop_sequence = "max_tokens", None
            return
        left -= tokens


def _end(answer: Answer, ending: str | None) -> None:
    match ending:
        case "refusal-mid-stream":
            answer.stop_reason, answer.stop_details = "refusal", _REFUSAL
        case "pause-turn":
            answer.stop_reason = "pause_turn"
        case "context-exceeded":
            answer.stop_reason = "model_context_window_exceeded"


def _tokens(block: Block) -> int:
    match block["type"]:
        case "text":
            return tokens_of(block["text"])
        case "thinking":
            return tokens_of(block["thinking"]) or 1
        case "redacted_thinking":
            return tokens_of(block["data"])
        case "tool_use" | "server_tool_use":
            return tokens_of(block["name"]) + tokens_of(dump(block["input"]))
    return 0
