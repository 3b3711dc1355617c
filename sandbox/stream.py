"""A message as Anthropic's stream of events, https://docs.anthropic.com/en/docs/build-with-claude/streaming."""

from collections.abc import Iterator
from typing import Any

from sandbox.http import dump
from sandbox.prompts import Block

_PIECE = 24  # characters of text, thinking or JSON in one delta
_PING = b'event: ping\ndata: {"type":"ping"}\n\n'


def events(message: dict[str, Any]) -> list[bytes]:
    """The events of a message, each as it goes over the wire; put together they give the message again."""
    start = {**message, "content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}
    start["usage"] = {**message["usage"], "output_tokens": min(1, message["usage"]["output_tokens"])}
    found = [_event({"type": "message_start", "message": start})]
    for index, block in enumerate(message["content"]):
        found.append(_event({"type": "content_block_start", "index": index, "content_block": _opened(block)}))
        if index == 0:
            found.append(_PING)
        found += [
            _event({"type": "content_block_delta", "index": index, "delta": delta})
            for delta in _deltas(block)
        ]
        found.append(_event({"type": "content_block_stop", "index": index}))
    found.append(_event(_message_delta(message)))
    found.append(_event({"type": "message_stop"}))
    return found


def _event(data: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (data["type"].encode(), dump(data))


def _opened(block: Block) -> Block:
    """A block as `content_block_start` has it: without what its deltas bring."""
    match block["type"]:
        case "text":
            return {"type": "text", "text": ""}
        case "thinking":
            return {"type": "thinking", "thinking": "", "signature": ""}
        case "tool_use" | "server_tool_use":
            return {**block, "input": {}}
    return block


def _deltas(block: Block) -> Iterator[dict[str, Any]]:
    match block["type"]:
        case "text":
            for piece in _pieces(block["text"]):
                yield {"type": "text_delta", "text": piece}
            for citation in block.get("citations") or ():
                yield {"type": "citations_delta", "citation": citation}
        case "thinking":
            for piece in _pieces(block["thinking"]):
                yield {"type": "thinking_delta", "thinking": piece}
            yield {"type": "signature_delta", "signature": block["signature"]}
        case "tool_use" | "server_tool_use":
            yield {"type": "input_json_delta", "partial_json": ""}
            for piece in _pieces(dump(block["input"]).decode()):
                yield {"type": "input_json_delta", "partial_json": piece}


def _pieces(text: str) -> Iterator[str]:
    for at in range(0, len(text), _PIECE):
        yield text[at : at + _PIECE]


def _message_delta(message: dict[str, Any]) -> dict[str, Any]:
    delta = {key: message[key] for key in ("stop_reason", "stop_sequence", "stop_details", "container")}
    usage = {key: message["usage"][key] for key in _DELTA_USAGE if message["usage"].get(key) is not None}
    return {"type": "message_delta", "delta": delta, "usage": usage}


_DELTA_USAGE = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "output_tokens_details",
    "server_tool_use",
)
