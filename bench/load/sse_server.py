"""An upstream for event streams: `python -m bench.load.sse_server --port 9000 --events 50 --interval-ms 20`.

A bare protocol on the event loop's transport, because every microsecond here would be missing from the load
generator on the same core. It answers a POST with `"stream": true` by events, any other by a message, a GET
by 200. Chunked request bodies are refused (411).
"""

import argparse
import asyncio
import re
import time
from collections.abc import Sequence
from typing import cast

import uvloop

from bench import payloads

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream": ?true')
_STAMP_DIGITS = 20


def chunk(data: bytes) -> bytes:
    """`data` as one HTTP/1.1 chunk (RFC 9112, section 7.1)."""
    return b"%x\r\n%s\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def stamped_delta() -> bytes:
    """A text delta whose text is the time now, in nanoseconds of the clock that all processes share."""
    return payloads.stream_delta(str(time.monotonic_ns()).zfill(_STAMP_DIGITS))


def _head(content_type: str, framing: str) -> bytes:
    headers = {"content-type": content_type, **payloads.UPSTREAM_HEADERS}
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, framing, "", ""]).encode()


class Answers:
    """The prepared bytes."""

    def __init__(self, events: int, text_bytes: int) -> None:
        message = payloads.message_body()
        self.message = _head("application/json", f"content-length: {len(message)}") + message
        self.empty = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        self.length_required = (
            b"HTTP/1.1 411 Length Required\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        head, tail = payloads.stream_head(), payloads.stream_tail()
        delta = chunk(payloads.stream_delta("x" * text_bytes))
        self.first = _head("text/event-stream; charset=utf-8", "transfer-encoding: chunked") + _chunks(head)
        self.last = _chunks(tail) + LAST_CHUNK
        self.deltas = events - len(head) - len(tail)
        self.burst = self.first + delta * self.deltas + self.last


def _chunks(events: Sequence[bytes]) -> bytes:
    return b"".join(chunk(event) for event in events)


class Pacer:
    """Sends a delta to each stream once an interval.

    Streams are spread over slots of a millisecond, so that the writes of many do not delay one another.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, answers: Answers, interval_ms: int) -> None:
        self._loop = loop
        self._answers = answers
        self._slots: list[dict[asyncio.Transport, int]] = [{} for _ in range(interval_ms)]
        self._joined = 0
        self._tick = 0
        self._start = loop.time()
        loop.call_soon(self._run)

    def add(self, transport: asyncio.Transport) -> None:
        """Begin a stream on `transport`: its first events at once, the rest one by one."""
        transport.write(self._answers.first)
        self._slots[self._joined % len(self._slots)][transport] = self._answers.deltas
        self._joined += 1

    def _run(self) -> None:
        slot = self._slots[self._tick % len(self._slots)]
        event = chunk(stamped_delta())
        for transport, left in list(slot.items()):
            if transport.is_closing():
                del slot[transport]
            elif left:
                transport.write(event)
                slot[transport] = left - 1
            else:
                transport.write(self._answers.last)
                del slot[transport]
        self._tick += 1
        self._loop.call_at(self._start + self._tick / 1000, self._run)


class Upstream(asyncio.Protocol):
    """One connection of a gateway."""

    def __init__(self, answers: Answers, pacer: Pacer | None) -> None:
        self._answers = answers
        self._pacer = pacer
        self._pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer each request whose body is whole."""
        self._pending += data
        while (end := self._pending.find(b"\r\n\r\n") + 4) > 3:
            head = self._pending[:end]
            length = _CONTENT_LENGTH.search(head)
            if length is None and head.startswith(b"POST"):
                self._transport.write(self._answers.length_required)
                self._transport.close()
                return
            total = end + (int(length.group(1)) if length else 0)
            if len(self._pending) < total:
                return
            self._answer(head, self._pending[end:total])
            self._pending = self._pending[total:]

    def _answer(self, head: bytes, body: bytes) -> None:
        if not head.startswith(b"POST"):
            self._transport.write(self._answers.empty)
        elif not _STREAM.search(body):
            self._transport.write(self._answers.message)
        elif self._pacer:
            self._pacer.add(self._transport)
        else:
            self._transport.write(self._answers.burst)


async def serve(port: int, events: int, interval_ms: int, text_bytes: int) -> None:
    """Serve on 127.0.0.1:`port` until the process is ended."""
    loop = asyncio.get_running_loop()
    answers = Answers(events, text_bytes)
    pacer = Pacer(loop, answers, interval_ms) if interval_ms else None
    server = await loop.create_server(lambda: Upstream(answers, pacer), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m bench.load.sse_server")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--events", type=int, default=payloads.STREAM_EVENTS, help="events of a stream")
    parser.add_argument("--interval-ms", type=int, default=0, help="between deltas; 0: all in one write")
    parser.add_argument("--text-bytes", type=int, default=24, help="text of a delta, where it is not paced")
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.events, options.interval_ms, options.text_bytes))


if __name__ == "__main__":
    main()
