"""What an upstream and the network before it can do wrong, as scripts of `tests.support.recorder`."""

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass

from tests.support.recorder import CLOSE, LAST_CHUNK, RESET, Step, answer, chunk, head, stream
from tests.support.transcripts import FULL, OVERLOADED, event, events

TIMEOUT = 1.2
"""ANTHROPIC_TIMEOUT of these tests, in seconds."""

Steps = Sequence[Step]

BODY = json.dumps(
    {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-20250514",
        "content": [{"type": "text", "text": "Grüße 👋"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 25, "output_tokens": 89},
    },
    ensure_ascii=False,
).encode()
JSON_HEAD = head(200, [("content-type", "application/json"), ("content-length", str(len(BODY)))])
SSE_HEAD = head(200, [("content-type", "text/event-stream"), ("transfer-encoding", "chunked")])
SSE = events(FULL)
FIRST, REST = SSE[: SSE.index(b"event: ping")], SSE[SSE.index(b"event: ping") :]


@dataclass(frozen=True)
class Fault:
    """How the upstream answers: a call for a whole message, and one for a stream. What it does not answer in
    a way of its own, it answers as it should.

    Attributes:
        delivered: what a native caller of a stream must get to see, whatever comes after it.
    """

    whole: Steps | None = None
    streamed: Steps | None = None
    delivered: bytes = b""

    def steps(self, *, streamed: bool) -> Steps:
        steps = self.streamed if streamed else self.whole
        if steps is not None:
            return steps
        return stream(SSE) if streamed else answer(body=BODY)


def both(*steps: Step) -> Fault:
    return Fault(steps, steps)


def cut(end: int, *, how: Step = CLOSE) -> Fault:
    """A stream that is cut after so many of its bytes. Before the first event is whole nothing is passed on,
    so that the status can tell the truth."""
    return Fault(
        streamed=[SSE_HEAD, chunk(SSE[:end]), how], delivered=SSE[:end] if end >= len(FIRST) else b""
    )


def cut_chunk(data: bytes, *, after: bytes = FIRST) -> Fault:
    return Fault(streamed=[SSE_HEAD, chunk(after), data, CLOSE], delivered=after)


def inside(mark: bytes, offset: int = 0) -> int:
    return SSE.index(mark) + offset


def dribbled(data: bytes, seconds: float) -> list[Step]:
    """Data in pieces, so that all of it takes so long while nothing is silent for long."""
    pieces = 8
    size = -(-len(data) // pieces)
    steps: list[Step] = []
    for start in range(0, len(data), size):
        steps += [data[start : start + size], seconds / pieces]
    return steps


def error(status: int, kind: str, headers: Sequence[tuple[str, str]] = ()) -> Fault:
    body = {"type": "error", "error": {"type": kind, "message": "as it says"}, "request_id": "req_upstream"}
    return both(*answer(status, json.dumps(body).encode(), headers))


def redirect(status: int) -> Fault:
    return both(*answer(status, b"", [("location", "/v1/messages?again")]))


SILENCE = TIMEOUT * 5
BOMB = gzip.compress(bytes(50_000_000))
HEADERS = [(f"x-filler-{number}", "x") for number in range(100_000)]

FAULTS: dict[str, Fault] = {
    # the connection
    "resets before the head": both(RESET),
    "closes before the head": both(CLOSE),
    "closes inside the head": both(b"HTTP/1.1 200 OK\r\ncontent-ty", CLOSE),
    "resets inside the head": both(b"HTTP/1.1 200 OK\r\ncontent-ty", RESET),
    "closes between head and body": Fault([JSON_HEAD, CLOSE], [SSE_HEAD, CLOSE]),
    "resets between head and body": Fault([JSON_HEAD, 0.05, RESET], [SSE_HEAD, 0.05, RESET]),
    "closes inside a JSON body": Fault([JSON_HEAD, BODY[:-9], CLOSE]),
    # a stream, cut
    "cut inside the first event": cut(20),
    "cut inside a chunk's size": cut_chunk(b"4"),
    "cut after a chunk's size": cut_chunk(b"40\r\n"),
    "cut inside a chunk": cut_chunk(chunk(REST)[:60]),
    "cut inside an event's name": cut(inside(b"content_block_start", 7)),
    "cut inside an event's JSON": cut(inside(b'"thinking_delta"', 4)),
    "cut inside a UTF-8 sequence": cut(inside("👋".encode(), 2)),
    "cut between an event's lines": cut(inside(b"data: ", 0)),
    "cut inside a blank line": cut(inside(b"\n\nevent: ping", 1)),
    "cut between two events": cut(len(FIRST)),
    "reset between two events": cut(len(FIRST), how=RESET),
    "cut before message_stop": cut(inside(b"event: message_stop")),
    "cut after the last event, before the last chunk": cut(len(SSE)),
    "cut inside the last chunk": cut_chunk(b"0\r", after=SSE),
    # time
    "silence instead of a head": both(SILENCE),
    "silence inside the head": both(b"HTTP/1.1 200 OK\r\n", SILENCE),
    "silence instead of a body": Fault([JSON_HEAD, SILENCE], [SSE_HEAD, SILENCE]),
    "silence in the middle of a body": Fault(
        [JSON_HEAD, BODY[:20], SILENCE], [SSE_HEAD, chunk(FIRST), SILENCE], delivered=FIRST
    ),
    "a slow head, in time": Fault(
        [*dribbled(JSON_HEAD, TIMEOUT / 2), BODY], [*dribbled(SSE_HEAD, TIMEOUT / 2), chunk(SSE), LAST_CHUNK]
    ),
    "a slow head, too late": both(*dribbled(JSON_HEAD, TIMEOUT * 4)),
    "a body that dribbles for longer than the time-out": Fault(
        [JSON_HEAD, *dribbled(BODY, TIMEOUT * 3)],
        [SSE_HEAD, *dribbled(chunk(SSE), TIMEOUT * 3), LAST_CHUNK],
        delivered=SSE,
    ),
    # what is no HTTP, or not what was asked for
    "garbage": both(b"\x00\xff\xfe\x01 no HTTP at all\r\n\r\n", CLOSE),
    "another protocol": both(b"SSH-2.0-OpenSSH_9.2\r\n", CLOSE),
    "garbage for a chunk's size": Fault(
        [head(200, [("content-type", "application/json"), ("transfer-encoding", "chunked")]), b"zz\r\n"],
        [SSE_HEAD, chunk(FIRST), b"zz\r\n"],
        delivered=FIRST,
    ),
    "garbage inside a stream": Fault(
        streamed=stream(FIRST, b"\x00\xff\xfe nothing that is known\n\ndata: {broken\n\n", REST),
        delivered=SSE[: len(FIRST)],
    ),
    "JSON that is none": Fault(answer(body=b'{"id":"msg_01",')),
    "another content type": Fault(
        answer(body=b"<html>A captive portal</html>", kind="text/html"),
        answer(body=b"<html>A captive portal</html>", kind="text/html"),
    ),
    "a whole answer instead of a stream": Fault(streamed=answer(body=BODY)),
    "a compression that nobody asked for": both(*answer(body=BOMB, headers=[("content-encoding", "gzip")])),
    "100,000 headers": both(head(200, HEADERS) + BODY, CLOSE),
    "a header of 1 MB": both(head(200, [("x-long", "x" * 1_000_000)]) + BODY, CLOSE),
    "interim answers first": Fault(
        [head(100, []), head(103, [("link", "</style.css>")]), *answer(body=BODY)],
        [head(100, []), head(103, [("link", "</style.css>")]), *stream(SSE)],
        delivered=SSE,
    ),
    "interim answers without end": both(*[head(103, [("link", "</x>")])] * 5000, CLOSE),
    "a switch of protocols": both(head(101, [("upgrade", "websocket"), ("connection", "upgrade")]), CLOSE),
    "a redirect, 301": redirect(301),
    "a redirect, 302": redirect(302),
    "a redirect, 307": redirect(307),
    "a redirect, 308": redirect(308),
    "a status that HTTP does not know": both(*answer(799, BODY)),
    # the length
    "a body shorter than announced": both(JSON_HEAD, BODY[:-1], CLOSE),
    "a body longer than announced": both(JSON_HEAD + BODY + b"and more", SILENCE),
    "two lengths that differ": both(
        head(200, [("content-type", "application/json"), ("content-length", "5"), ("content-length", "6")]),
        BODY,
        CLOSE,
    ),
    "a length and chunks": both(
        head(200, [("content-length", str(len(BODY))), ("transfer-encoding", "chunked")]) + chunk(BODY),
        LAST_CHUNK,
        CLOSE,
    ),
    "a length that is no number": both(head(200, [("content-length", "-5")]) + BODY, CLOSE),
    # errors of its own
    "429 with retry-after": error(429, "rate_limit_error", [("retry-after", "7")]),
    "429 without retry-after": error(429, "rate_limit_error"),
    "500": error(500, "api_error"),
    "529": error(529, "overloaded_error"),
    "529 as the first event": Fault(streamed=stream(event(OVERLOADED))),
    "529 in the middle of a stream": Fault(streamed=stream(FIRST, event(OVERLOADED)), delivered=FIRST),
    "an error without JSON": both(*answer(503, b"<html>Bad day</html>", kind="text/html")),
    "it refuses the gateway's own credential": error(401, "authentication_error"),
}
