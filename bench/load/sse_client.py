"""Hold many streams and time their events: `python -m bench.load.sse_client --help`.

It prints `OPEN` when every stream has begun, then holds them for the time asked and prints one JSON object.
"""

import argparse
import asyncio
import json
import re
import socket
import sys
import time
from array import array
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import uvloop

from bench.stats import percentile

# The text of a delta of `sse_server`: when it was written. (An envelope's `text` frame repeats it.)
STAMP = re.compile(rb'text_delta", ?"text": ?"(\d{20})"|"text": ?"(\d{20})", ?"type": ?"text_delta"')
_OPEN_SECONDS = 60.0
_OPENING = 50  # streams that begin at the same time
_SETTLE_SECONDS = 1.0


@dataclass
class Held:
    """What the streams together have seen; delays in nanoseconds, from the upstream's write to our read."""

    broken: list[str] = field(default_factory=list)
    recording: bool = False
    delays: "array[int]" = field(default_factory=lambda: array("q"))


@dataclass(frozen=True)
class Delays:
    """The figures of a run."""

    streams: int
    events: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class Stream(asyncio.Protocol):
    """One caller with one stream. With `read=False` it never reads what it asked for."""

    def __init__(self, request: bytes, held: Held, *, read: bool) -> None:
        self._request = request
        self._held = held
        self._read = read
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._rest = b""
        self.closed_by_us = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)
        if not self._read:
            self.begun.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Note the delay of each event."""
        now = time.monotonic_ns()
        if not self.begun.done():
            if not data.startswith(b"HTTP/1.1 200"):
                self._held.broken.append(data[:300].decode(errors="replace"))
            self.begun.set_result(None)
        data = self._rest + data
        whole = data.rfind(b"\n\n") + 2
        self._rest = data[whole:] if whole > 1 else data
        if self._held.recording and whole > 1:
            for match in STAMP.finditer(data, 0, whole):
                self._held.delays.append(now - int(match.group(1) or match.group(2)))

    def connection_lost(self, exc: Exception | None) -> None:
        """A stream that ends before we end it is an error."""
        if not self.closed_by_us:
            self._held.broken.append(f"closed: {exc}")
            if not self.begun.done():
                self.begun.set_result(None)


async def hold(url: str, request: bytes, streams: int, seconds: float, *, read: bool) -> Delays:
    """Open `streams` streams at `url`, hold them for `seconds` and return the delays of their events.

    Raises RuntimeError when a stream is refused or cut, TimeoutError when they do not all begin.
    """
    held = Held()
    callers = [Stream(request, held, read=read) for _ in range(streams)]
    for first in range(0, streams, _OPENING):
        group = callers[first : first + _OPENING]
        async with asyncio.timeout(_OPEN_SECONDS):
            await asyncio.gather(*(_open(url, caller, read=read) for caller in group))
            await asyncio.gather(*(caller.begun for caller in group))
    await asyncio.sleep(_SETTLE_SECONDS)
    print("OPEN", flush=True)
    held.recording = True
    await asyncio.sleep(seconds)
    held.recording = False
    for caller in callers:
        caller.closed_by_us = True
        caller.transport.abort()
    if held.broken:
        raise RuntimeError(f"{len(held.broken)} of {streams} streams broke, the first: {held.broken[0]}")
    return _figures(streams, held.delays)


async def _open(url: str, caller: Stream, *, read: bool) -> None:
    loop, parts = asyncio.get_running_loop(), urlsplit(url)
    connection = socket.socket()
    connection.settimeout(0)
    if not read:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await loop.sock_connect(connection, (parts.hostname, parts.port))
    await loop.create_connection(lambda: caller, sock=connection)
    if not read:
        caller.transport.pause_reading()  # not earlier: a transport begins to read after `connection_made`


def _figures(streams: int, delays: "array[int]") -> Delays:
    if not delays:
        return Delays(streams, 0, 0.0, 0.0, 0.0)
    values = sorted(delay / 1e6 for delay in delays)
    return Delays(streams, len(values), percentile(values, 50), percentile(values, 99), values[-1])


def request_bytes(url: str, body: bytes, headers: list[str]) -> bytes:
    """A POST of `body` to `url` as it goes over the wire."""
    parts = urlsplit(url)
    lines = [f"POST {parts.path} HTTP/1.1", f"host: {parts.netloc}", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def main() -> int:
    """Read the command line, hold the streams, print the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.load.sse_client")
    parser.add_argument("url")
    parser.add_argument("body", type=Path, help="file with the request body")
    parser.add_argument("headers", nargs="*", help='"Name: value"')
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--never-read", action="store_true")
    options = parser.parse_args()
    request = request_bytes(options.url, options.body.read_bytes(), options.headers)
    try:
        delays = uvloop.run(
            hold(options.url, request, options.streams, options.seconds, read=not options.never_read)
        )
    except (RuntimeError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(delays)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
