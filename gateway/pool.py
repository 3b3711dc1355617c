"""Keep-alive connections to upstream: no redirects, no cookies, no decoding; bytes up and bytes back.

What the network does wrong becomes one of the SDK's connection errors, so that the SDK's retry rules apply.
An own pool instead of a library's is worth its lines for the CPU that it saves (docs/adr/0007).
"""

import asyncio
import re
import ssl
import urllib.request
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Protocol
from urllib.parse import urlsplit

import httpx2
from anthropic import APIConnectionError, APITimeoutError

from gateway.errors import Headers
from gateway.http1 import Connection, ConnectionDied, Http1Answer, Http1Error, Http1Timeout

CONNECT_SECONDS = 10.0
IDLE_SECONDS = 30.0
"""How long an idle connection is kept: shorter than any server of note keeps its end."""

SAFE = frozenset({"GET", "HEAD"})
"""Methods that are sent again when a kept connection turns out to be dead."""

BODILESS = frozenset({"GET", "HEAD", "DELETE"})
"""Methods that say nothing of a body's length when they have none (RFC 9110 §8.6)."""

_UNSAFE = re.compile(r"[\x00-\x20\x7f]")


class Answer(Protocol):
    """What upstream answers: status and headers at once, the body when it is asked for."""

    status: int
    headers: Headers

    async def read(self) -> bytes:
        """The whole body."""

    async def chunk(self) -> bytes:
        """The next bytes of the body as they come, or nothing at its end."""

    def close(self) -> None:
        """Drop what is left; the connection is closed unless the body has come to its end."""


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
        self._idle: deque[Connection] = deque()
        self._open: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._open):
            connection.abort()
        await asyncio.sleep(0)

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
        length = headers.get("content-length")
        head = self._head(method, target, headers, body)
        try:
            while True:
                connection = self._take_idle() or await self._connect()
                try:
                    return _Answer(
                        await connection.exchange(
                            head,
                            body,
                            length=None if length is None else int(length),
                            bodyless=method == "HEAD",
                            total=total,
                            silence=silence,
                        )
                    )
                except ConnectionDied:
                    if not connection.reused or method not in SAFE:
                        raise
        except (Http1Error, OSError, ValueError) as error:
            raise connection_error(error) from error

    def _head(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | AsyncIterator[bytes] | None
    ) -> bytes:
        if _UNSAFE.search(target):
            raise connection_error(Http1Error("the request target has a blank or control character"))
        lines = [f"{method} {self._prefix}{target} HTTP/1.1\r\nhost: {self._host_header}\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in headers.items()]
        if isinstance(body, bytes) or (body is None and method not in BODILESS):
            lines.append(f"content-length: {len(body or b'')}\r\n")
        return "".join(lines).encode()

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    async def _connect(self) -> Connection:
        connection = Connection(self._loop, self._release, self._open.discard)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._loop.create_connection(
                    lambda: connection,
                    self._host,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                )
        except TimeoutError:
            raise Http1Timeout("upstream could not be reached in time") from None
        self._open.add(connection)
        return connection

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


class _Answer:
    """An answer whose failures are the SDK's connection errors."""

    __slots__ = ("_answer", "close", "headers", "status")

    def __init__(self, answer: Http1Answer) -> None:
        self._answer = answer
        self.status = answer.status
        self.headers = answer.headers
        self.close = answer.close

    async def read(self) -> bytes:
        try:
            return await self._answer.read()
        except Http1Error as error:
            raise connection_error(error) from error

    async def chunk(self) -> bytes:
        try:
            return await self._answer.chunk()
        except Http1Error as error:
            raise connection_error(error) from error


def connection_error(error: Exception) -> APIConnectionError:
    """The SDK's error for a failure of the connection; it names no host."""
    request = httpx2.Request("POST", "http://upstream")
    if isinstance(error, TimeoutError | Http1Timeout):
        return APITimeoutError(request=request)
    cause = str(error) if isinstance(error, Http1Error) else type(error).__name__
    return APIConnectionError(message=cause, request=request)


def proxy_for(base_url: str) -> str | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY name for an origin, or None."""
    url = urlsplit(base_url)
    if urllib.request.proxy_bypass(url.hostname or ""):
        return None
    return urllib.request.getproxies().get(url.scheme)
