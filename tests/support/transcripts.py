"""Message streams as Anthropic sends them."""

import json
from typing import Any

Event = dict[str, Any]


def event(payload: Event) -> bytes:
    """One native event."""
    data = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    return b"event: %b\ndata: %b\n\n" % (str(payload["type"]).encode(), data)


def events(payloads: list[Event]) -> bytes:
    """A native stream."""
    return b"".join(map(event, payloads))


def _delta(index: int, **delta: Any) -> Event:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def _block(index: int, block: Event, *deltas: Event) -> list[Event]:
    return [
        {"type": "content_block_start", "index": index, "content_block": block},
        *(_delta(index, **delta) for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


START: Event = {
    "type": "message_start",
    "message": {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-20250514",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 25,
            "cache_creation_input_tokens": 3,
            "cache_read_input_tokens": 7,
            "output_tokens": 1,
            "service_tier": "standard",
        },
    },
}
PING: Event = {"type": "ping"}
CITATION = {
    "type": "char_location",
    "cited_text": "The grass is green.",
    "document_index": 0,
    "document_title": "Grass",
    "start_char_index": 0,
    "end_char_index": 20,
    "file_id": None,
}
END: list[Event] = [
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 89},
    },
    {"type": "message_stop"},
]

FULL: list[Event] = [
    START,
    PING,
    *_block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "What is "},
        {"type": "thinking_delta", "thinking": "asked?"},
        {"type": "signature_delta", "signature": "RXhhY3Q/Ynl0ZXM="},
    ),
    *_block(
        1,
        {"type": "text", "text": "", "citations": []},
        {"type": "text_delta", "text": "Grüße 👋, "},
        {"type": "citations_delta", "citation": CITATION},
        {"type": "text_delta", "text": "\u2028line\nend \u0000"},
    ),
    *_block(
        2,
        {"type": "tool_use", "id": "toolu_01", "name": "get_weather", "input": {}},
        {"type": "input_json_delta", "partial_json": ""},
        {"type": "input_json_delta", "partial_json": '{"location": "San'},
        {"type": "input_json_delta", "partial_json": ' Francisco, CA", "days": [1, 2'},
        {"type": "input_json_delta", "partial_json": "]}"},
    ),
    *END,
]
"""Each kind of delta that the SDK knows; text that tests line ends and characters outside the first plane."""

SHORT: list[Event] = [
    START,
    *_block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hello"}),
    *END,
]
FALLBACK: list[Event] = [
    START,
    *_block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "I'd "}),
    *_block(
        1,
        {
            "type": "fallback",
            "from": {"model": "claude-sonnet-4-20250514"},
            "to": {"model": "claude-haiku-4-5-20251001"},
            "trigger": {"type": "refusal", "category": "cyber"},
        },
    ),
    *_block(2, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hello"}),
    *END,
]
"""The model that was asked for declines in the middle, and another one goes on."""

OVERLOADED: Event = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
