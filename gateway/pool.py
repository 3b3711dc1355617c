"""Keep-alive connections to upstream: no redirects, no cookies, no decoding; bytes up and bytes back.

What the network does wrong becomes one of the SDK's connection errors, so that the SDK's retry rules apply.
An own pool instead of a library's is worth its lines for the CPU that it saves (docs/adr/0007).
"""

import asyncio
import re
import socket
import ssl
import urllib.request
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Protocol
from urllib.parse import urlsplit

import aiohappyeyeballs
from anthropic import APIConnectionError, APITimeoutError

from gateway.errors import Headers
from gateway.http1 import READ_BYTES, REQUEST, Connection, ConnectionBroken, ConnectionDied, Handle

CONNECT_SECONDS = 10.0

NEXT_ADDRESS_SECONDS = 0.25
"""Wait before the host's next address is tried beside the one that does not answer (RFC 8305 §5)."""

IDLE_SECONDS = 30.0
"""How long an idle connection is kept: shorter than any server of note keeps its end."""

SAFE = frozenset({"GET", "HEAD"})
"""Methods that are sent again when a kept connection turns out to be dead."""

BODILESS = frozenset({"GET", "HEAD", "DELETE"})
"""Methods that say nothing of a body's length when they have none (RFC 9110 §8.6)."""

LARGE_BODY = 1 << 20
"""Bodies above this size are written piece by piece, so that other requests get their turn."""

PIECE = 1 << 18

_UNSAFE = re.compile(r"[\x00-\x20\x7f]")


class Answer(Protocol):
    """What upstream answers: status and headers at once, the body when it is asked for."""

    status: int
    headers: Headers

    @property
    def ready(self) -> bool:
        """Whether `chunk` is known not to wait."""
        return False

    async def read(self) -> bytes:
        """The whole body."""

    async def chunk(self) -> bytes:
        """The next bytes of the body as they come, or nothing at its end."""

    async def pass_on(self, handle: Handle) -> None:
        """Give the body to `handle` as it comes; returns at its end."""
        while chunk := await self.chunk():
            if waiting := handle(chunk):
                await waiting

    def close(self) -> None:
        """Drop what is left; the connection is closed unless the body has come to its end."""


class SentHeaders(Mapping[str, str]):
    """Headers that go up with more than one request, always by the same pool.

    Attributes:
        lines: as that pool says them, its Host first; empty until it has.
    """

    __slots__ = ("_fields", "lines")

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = fields
        self.lines = b""

    def __getitem__(self, name: str) -> str:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


class Pool:
    """Connections to one origin. Make it inside the running loop.

    Args:
        base_url: scheme, host, port and optional path prefix of upstream.
    """

    def __init__(self, base_url: str) -> None:
        url = urlsplit(base_url)
        self._host = url.hostname or ""
        self._tls = ssl.create_default_context() if url.scheme == "https" else None
        self._port = url.port or (443 if self._tls else 80)
        self._prefix = url.path.rstrip("/")
        self._host_header = url.netloc.rpartition("@")[2]
        self._loop = asyncio.get_running_loop()
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._idle: deque[Connection] = deque()
        self._open: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closing = asyncio.Event()
        self._emptied = asyncio.Event()

    async def close(self) -> None:
        """Close all connections, also those that are just being made."""
        self._closing.set()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in self._open:
            connection.abort()
        if self._open:
            self._emptied.clear()
            await self._emptied.wait()

    async def send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | AsyncIterator[bytes] | None,
        *,
        total: float | None,
        silence: float,
    ) -> Answer:
        """Send one request and wait for the head of its answer.

        Args:
            method: HTTP method.
            target: raw path and query, sent as they are.
            headers: all request headers but Host and those of framing; Content-Length for a body in pieces.
            body: bytes, or pieces that are sent as they come.
            total: seconds for the whole exchange, or None.
            silence: seconds that upstream may keep silent.

        Raises:
            anthropic.APITimeoutError: connecting, or the wait for the answer, took too long.
            anthropic.APIConnectionError: the connection failed or broke, or the answer is not HTTP.
        """
        head = self._head(method, target, headers, body)
        length = None if body is None else len(body) if isinstance(body, bytes) else _announced(headers)
        if isinstance(body, bytes) and len(body) > LARGE_BODY:
            body = _pieces(body)
        kept = self._take_idle()
        connection = kept or await self._connect(total or silence)
        try:
            return await connection.exchange(
                head, body, length=length, bodyless=method == "HEAD", total=total, silence=silence
            )
        except ConnectionDied:
            if kept is None or method not in SAFE or body is not None:
                raise
        connection = await self._connect(total or silence)  # other kept ones may be as dead
        return await connection.exchange(
            head, body, length=length, bodyless=method == "HEAD", total=total, silence=silence
        )

    def _head(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | AsyncIterator[bytes] | None
    ) -> bytes:
        if _UNSAFE.search(target):
            raise ConnectionBroken("the request target has a blank or control character")
        head = f"{method} {self._prefix}{target} HTTP/1.1\r\n".encode("latin-1")
        if not isinstance(headers, SentHeaders):
            head += self._lines(headers)
        else:
            if not headers.lines:
                headers.lines = self._lines(headers)
            head += headers.lines
        if isinstance(body, bytes) or (body is None and method not in BODILESS):
            head += b"content-length: %d\r\n" % len(body or b"")
        return head

    def _lines(self, headers: Mapping[str, str]) -> bytes:
        lines = [
            f"host: {self._host_header}\r\n",
            *(f"{name}: {value}\r\n" for name, value in headers.items()),
        ]
        text = "".join(lines)
        if text.count("\n") != len(lines) or text.count("\r") != len(lines) or "\0" in text:
            raise ConnectionBroken("a request header has a line break or NUL")
        return text.encode()

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    async def _connect(self, longest: float) -> Connection:
        if self._closing.is_set():
            raise ConnectionBroken("the gateway is stopping")
        connection = Connection(self._loop, self._buffer, self._open.add, self._release, self._lost)
        try:
            async with asyncio.timeout(min(CONNECT_SECONDS, longest)):
                addresses = await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
                sock = await aiohappyeyeballs.start_connection(
                    addresses, happy_eyeballs_delay=NEXT_ADDRESS_SECONDS
                )
                await self._loop.create_connection(
                    lambda: connection,
                    sock=sock,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                )
        except (OSError, ValueError, RuntimeError) as error:
            raise connection_error(error) from error
        if self._closing.is_set():
            connection.abort()
        return connection

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        if not self._open:
            self._emptied.set()

    def _release(self, connection: Connection) -> None:
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(IDLE_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Close what was idle for too long; the one unused for longest comes first."""
        now = self._loop.time()
        while self._idle and (not self._idle[0].usable or now - self._idle[0].idle_since >= IDLE_SECONDS):
            self._idle.popleft().abort()
        later = self._idle[0].idle_since + IDLE_SECONDS - now if self._idle else None
        self._sweeper = None if later is None else self._loop.call_later(later, self._sweep)


def _announced(headers: Mapping[str, str]) -> int | None:
    length = headers.get("content-length")
    return None if length is None else int(length)


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]


def connection_error(error: Exception) -> APIConnectionError:
    """The SDK's error for a failure of the connection; it names no host."""
    if isinstance(error, TimeoutError):
        return APITimeoutError(REQUEST)
    return APIConnectionError(message=type(error).__name__, request=REQUEST)


def proxy_for(base_url: str) -> str | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY name for an origin, or None."""
    url = urlsplit(base_url)
    if urllib.request.proxy_bypass(url.hostname or ""):
        return None
    proxy = urllib.request.getproxies().get(url.scheme)
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy
