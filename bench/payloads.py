"""The requests that the bench sends and the answers that its upstreams give."""

import json
from typing import Any

MODEL = "claude-sonnet-4-20250514"
API_VERSION = "2023-06-01"
STREAM_EVENTS = 50

_SENTENCE = "The quick brown fox jumps over the lazy dog while the gateway counts every token it sees. "
_TOOL = {
    "name": "get_weather",
    "description": "Get the current weather in a given location.",
    "input_schema": {
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        },
        "required": ["location"],
    },
}

# As many response headers as Anthropic sends, for a gateway pays for each of them.
UPSTREAM_HEADERS = {
    "request-id": "req_011CBench000000000000000",
    "anthropic-organization-id": "00000000-0000-4000-8000-000000000000",
    "anthropic-ratelimit-requests-limit": "4000",
    "anthropic-ratelimit-requests-remaining": "3999",
    "anthropic-ratelimit-requests-reset": "2026-01-01T00:00:00Z",
    "anthropic-ratelimit-tokens-limit": "400000",
    "anthropic-ratelimit-tokens-remaining": "399000",
    "anthropic-ratelimit-tokens-reset": "2026-01-01T00:00:00Z",
}


def request_body(*, stream: bool = False, size: int = 2048) -> bytes:
    """A message request of exactly `size` bytes: system prompt, three turns with text blocks, one tool."""
    body: dict[str, Any] = {
        "model": MODEL,
        "max_tokens": 1024,
        "system": "You are a helpful assistant. Answer briefly and say when you are not sure.",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": ""}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Of course. " + _SENTENCE * 3}]},
            {"role": "user", "content": "And what does that mean for the weather in Zürich tomorrow?"},
        ],
        "tools": [_TOOL],
    }
    if stream:
        body["stream"] = True
    missing = size - len(_dump(body))
    if missing < 0:
        raise ValueError(f"a request needs at least {size - missing} bytes")
    body["messages"][0]["content"][0]["text"] = (_SENTENCE * (missing // len(_SENTENCE) + 1))[:missing]
    return _dump(body)


def big_request_body(megabytes: int) -> bytes:
    """A message request of about `megabytes` MB in text blocks of 100 bytes, the dearest shape to check."""
    block = {"type": "text", "text": _SENTENCE[:68]}
    count = megabytes * 1_000_000 // (len(_dump(block)) + 1)
    return _dump(
        {"model": MODEL, "max_tokens": 16, "messages": [{"role": "user", "content": [block] * count}]}
    )


def message_body(size: int = 1100) -> bytes:
    """A message answer of exactly `size` bytes."""
    message: dict[str, Any] = {
        "id": "msg_01BenchBenchBenchBenchBench",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [{"type": "text", "text": ""}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 412,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 180,
            "service_tier": "standard",
        },
    }
    missing = size - len(_dump(message))
    message["content"][0]["text"] = (_SENTENCE * (missing // len(_SENTENCE) + 1))[:missing]
    return _dump(message)


def stream_head() -> list[bytes]:
    """The events before the first delta."""
    message = json.loads(message_body()) | {"content": [], "stop_reason": None}
    message["usage"]["output_tokens"] = 1
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    return [_event({"type": "message_start", "message": message}), _event(block)]


def stream_delta(text: str) -> bytes:
    """One text delta."""
    return _event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})


def stream_tail() -> list[bytes]:
    """The events after the last delta."""
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    return [
        _event({"type": "content_block_stop", "index": 0}),
        _event({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 180}}),
        _event({"type": "message_stop"}),
    ]


def _event(data: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (data["type"].encode(), _dump(data))


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
