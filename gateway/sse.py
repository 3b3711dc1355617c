"""Server-sent events: cut them from a byte stream, meter them, and say them again in the envelope's way.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html and
https://docs.anthropic.com/en/api/messages-streaming
"""

import json
import re
from typing import Any, Protocol

from gateway.json_body import parse_answer
from gateway.message import MessageAccumulator, fallen_back_to
from gateway.resources import Owned, brought_forth_by_event
from gateway.usage import merge

MESSAGE_BEGIN = b"event: message_start\n"
"""How Anthropic begins a stream, unless it begins with a ping or an error."""

_BLANK_LINE = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")
_LINE_END = re.compile(rb"\r\n|\r|\n")
_DELTA = re.compile(
    rb"(?:event: content_block_delta\n)?"
    rb'data: (\{"type":"content_block_delta","index":([0-9]{1,9}),"delta":\{"type":'
    rb'"(?:text_delta","(text)|thinking_delta","(thinking)|input_json_delta","(partial_json))":'
    rb'"((?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+)" *\} *\}) *'
)
"""Nearly all events of a stream, as Anthropic writes them: data, index, one of the members, text in JSON."""


class EventSplitter:
    """Cuts a byte stream into events at blank lines, however the bytes were cut on the way."""

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that `chunk` completes, each without its blank line."""
        if self._pending:
            self._pending.append(chunk)
            if b"\n" not in chunk and b"\r" not in chunk:
                return []  # the middle of a line, which may be long: it is joined once
            chunk = b"".join(self._pending)
        events = _BLANK_LINE.split(chunk) if b"\r" in chunk else chunk.split(b"\n\n")
        last = events.pop()
        self._pending = [last] if last else []
        return events

    @property
    def at_boundary(self) -> bool:
        """Whether the bytes so far end where an event ends."""
        return not any(part.strip(b"\r\n") for part in self._pending)


def event_data(event: bytes) -> bytes:
    """The payload of one event: its `data` lines, joined by line feeds."""
    head, found, data = event.partition(b"data:")
    if found and b"\n" not in data and b"\r" not in event and (not head or head.endswith(b"\n")):
        return data.removeprefix(b" ")
    lines = [line[5:].removeprefix(b" ") for line in _LINE_END.split(event) if line.startswith(b"data:")]
    return b"\n".join(lines)


def parse_event(event: bytes) -> dict[str, Any] | None:
    """The JSON object of one event, or None where it has none."""
    return _parse(event_data(event))


def _parse(data: bytes) -> dict[str, Any] | None:
    payload = parse_answer(data)
    return payload if isinstance(payload, dict) else None


def error_event(error_type: str, message: str, request_id: str) -> bytes:
    """The native dialect's `error` event."""
    body = {"type": "error", "error": {"type": error_type, "message": message}, "request_id": request_id}
    return b"event: error\ndata: %b\n\n" % _dumps(body)


class StreamMeter(Protocol):
    """Passes a message stream on and learns what it costs.

    `usage` is None until the stream told it; `finished` says whether the stream reached its last event;
    `error_type` names the error that an `error` event told; `delta_bytes` counts the content that went by;
    `found` holds the resources that the message has brought forth since somebody took them.
    """

    found: set[Owned]
    finished: bool
    error_type: str | None
    delta_bytes: int

    @property
    def usage(self) -> dict[str, Any] | None: ...

    @property
    def model(self) -> str | None: ...

    @property
    def stop_reason(self) -> str | None: ...

    def feed(self, chunk: bytes) -> bytes:
        """What to send for a chunk of the native stream."""

    def at_boundary(self) -> bool:
        """Whether what was sent so far ends between two events."""


class Meter:
    """Reads usage from a native stream while its bytes pass by.

    Only `message_start`, `message_delta`, `message_stop`, `error`, `fallback` and blocks that begin with a
    `file_id` are parsed; parsing each event would cost four times as much.

    Args:
        threaded: the conversation is held by Anthropic, and goes on from the message's id.
    """

    __slots__ = (
        "_splitter",
        "_threaded",
        "delta_bytes",
        "error_type",
        "finished",
        "found",
        "model",
        "stop_reason",
        "usage",
    )

    def __init__(self, *, threaded: bool = False) -> None:
        self._splitter = EventSplitter()
        self._threaded = threaded
        self.found: set[Owned] = set()
        self.usage: dict[str, Any] | None = None
        self.model: str | None = None
        self.stop_reason: str | None = None
        self.delta_bytes = 0
        self.error_type: str | None = None
        self.finished = False

    def feed(self, chunk: bytes) -> bytes:
        """Take note of a chunk, and hand it on as it is."""
        for event in self._splitter.feed(chunk):
            if event.startswith(_DELTA_BEGIN):
                self.delta_bytes += max(0, len(event) - _DELTA_FRAME)
                continue
            if b"content_block_delta" in event:
                self.delta_bytes += max(0, len(event) - _DELTA_FRAME)
            if (
                b'"file_id"' in event
                or b'"message_' in event
                or b'"error"' in event
                or b'"fallback"' in event
            ):
                self._read(parse_event(event) or {})
        return chunk

    def at_boundary(self) -> bool:
        """Whether the bytes so far end between two events."""
        return self._splitter.at_boundary

    def _read(self, payload: dict[str, Any]) -> None:
        self.found |= brought_forth_by_event(payload, threaded=self._threaded)
        match payload:
            case {"type": "message_start", "message": {"usage": dict(usage)} as message}:
                self.usage = dict(usage)
                self.model = message.get("model")
            case {"type": "content_block_start", "content_block": dict(block)}:
                self.model = fallen_back_to(block) or self.model
            case {"type": "message_delta", "usage": dict(usage), **rest}:
                self.usage = merge(self.usage or {}, usage)
                delta = rest.get("delta")
                self.stop_reason = delta.get("stop_reason") if isinstance(delta, dict) else None
            case {"type": "message_stop"}:
                self.finished = True
            case {"type": "error", "error": {"type": str(kind)}}:
                self.error_type = kind
                self.finished = True


_DELTA_FRAME = len(
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":""}}'
)

_DELTA_BEGIN = b'event: content_block_delta\ndata: {"type":"content_block_delta",'
"""How Anthropic writes a delta, which is neither the message's begin nor its end nor an error."""


class EnvelopeStream:
    """Says a native stream again as the envelope does.

    Each of Anthropic's events becomes a frame without an `event:` line, so that a browser's `onmessage` sees
    all of them, with an `id:`; a text delta is followed by a `text` frame; `message_stop` gains the whole
    message; an `error` gains the request id.

    Args:
        request_id: the gateway's id of the request.
        threaded: the conversation is held by Anthropic, and goes on from the message's id.
    """

    __slots__ = (
        "_accumulator",
        "_count",
        "_splitter",
        "_threaded",
        "delta_bytes",
        "error_type",
        "finished",
        "found",
        "request_id",
    )

    def __init__(self, request_id: str, *, threaded: bool = False) -> None:
        self.request_id = request_id
        self._threaded = threaded
        self.found: set[Owned] = set()
        self._splitter = EventSplitter()
        self._accumulator = MessageAccumulator()
        self._count = 0
        self.delta_bytes = 0
        self.error_type: str | None = None
        self.finished = False

    @property
    def usage(self) -> dict[str, Any] | None:
        """Usage as far as it is known."""
        return self._accumulator.usage

    @property
    def model(self) -> str | None:
        """The model that answers, once it is known."""
        return self._accumulator.model

    @property
    def stop_reason(self) -> str | None:
        """Why the model stopped, once it has."""
        return self._accumulator.stop_reason

    def feed(self, chunk: bytes) -> bytes:
        """The frames that a chunk of the native stream completes (may be empty)."""
        return b"".join(map(self._frames, self._splitter.feed(chunk)))

    def at_boundary(self) -> bool:
        """Whole frames are sent only."""
        return True

    def error_frame(self, error_type: str, message: str) -> bytes:
        """The last frame of a stream that fails."""
        self.finished = True
        self.error_type = error_type
        body = {
            "type": "error",
            "error": {"type": error_type, "message": message},
            "request_id": self.request_id,
        }
        return self._frame(_dumps(body))

    def _frames(self, event: bytes) -> bytes:
        """The frames of one event. A delta, as most are, is neither parsed nor written anew."""
        found = _DELTA.fullmatch(event)
        if found is not None:
            data, index, text, thinking, _, value = found.groups()
            member = "text" if text else "thinking" if thinking else "input"
            if self._accumulator.add_part(int(index), member, value):
                self.delta_bytes += len(value)
                if not text:
                    return self._frame(data)
                self._count += 2
                return b'id: %d\ndata: %b\n\nid: %d\ndata: {"type":"text","text":"%b"}\n\n' % (
                    self._count - 1, data, self._count, value,
                )  # fmt: skip
        data = event_data(event)
        return b"".join(map(self._frame, self._payloads(event, data))) if data else b""

    def _payloads(self, event: bytes, data: bytes) -> list[bytes]:
        payload = _parse(data) or {}
        match payload:
            case {"type": "content_block_delta", "delta": {"type": kind} as delta}:
                self._accumulator.add(payload)
                if kind == "text_delta" and isinstance(delta.get("text"), str):
                    self.delta_bytes += len(delta["text"].encode(errors="replace"))
                    return [data, _dumps({"type": "text", "text": delta["text"]})]
                self.delta_bytes += max(0, len(event) - _DELTA_FRAME)
            case {"type": "message_stop"}:
                self.finished = True
                message = _dumps(self._accumulator.message())
                return [b'%b,"message":%b}' % (data.rstrip()[:-1].rstrip(), message)]
            case {"type": "error"}:
                error = payload.get("error")
                kind = error.get("type") if isinstance(error, dict) else None
                self.error_type = kind if isinstance(kind, str) else "api_error"
                self.finished = True
                return [_dumps({**payload, "request_id": self.request_id})]
            case _:
                self._accumulator.add(payload)
                self.found |= brought_forth_by_event(payload, threaded=self._threaded)
        return [data]

    def _frame(self, data: bytes) -> bytes:
        self._count += 1
        return b"id: %d\ndata: %b\n\n" % (self._count, data.replace(b"\n", b"\ndata: "))


def _dumps(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
