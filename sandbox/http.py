"""A request and a response: as much of HTTP as the sandbox needs, and no more."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import jiter

from sandbox.errors import ApiError, Headers, invalid

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MESSAGE_LIMIT = 32 * 1024**2
BATCH_LIMIT = 256 * 1024**2


class CallerLeft(Exception):
    """The caller hung up before the whole answer was sent."""


class Cut(Exception):
    """The answer is to break off here, its connection closed."""


class Request:
    """One call: its head, and its body as far as it has been read."""

    __slots__ = (
        "_query",
        "_receive",
        "_watcher",
        "digest",
        "headers",
        "id",
        "method",
        "params",
        "scope",
        "size",
        "started",
    )

    def __init__(self, scope: Scope, receive: Receive, request_id: str) -> None:
        self.scope = scope
        self.id = request_id
        self.method: str = scope["method"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.params: tuple[str, ...] = ()
        self.started = time.monotonic()
        self.size = 0
        self.digest: str | None = None
        self._receive = receive
        self._watcher: asyncio.Task[Message] | None = None
        self._query: dict[str, list[str]] | None = None

    @property
    def has_body(self) -> bool:
        """Whether the head announces a body."""
        return b"transfer-encoding" in self.headers or self.headers.get(b"content-length", b"0") != b"0"

    @property
    def origin(self) -> str:
        """Scheme and host as the caller named them."""
        host = self.headers.get(b"host", b"localhost").decode("latin-1")
        return f"{self.scope['scheme']}://{host}"

    def query(self, name: str) -> str | None:
        """The last value of a query parameter."""
        values = self.queries(name)
        return values[-1] if values else None

    def queries(self, name: str) -> list[str]:
        """All values of a query parameter."""
        if self._query is None:
            self._query = parse_qs(self.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        return self._query.get(name, [])

    async def chunks(self, limit: int) -> AsyncIterator[bytes]:
        """The body as it arrives.

        Raises `ApiError` 413 over `limit` bytes and `CallerLeft` when the caller hangs up before its end.
        """
        if int(self.headers.get(b"content-length", b"0")) > limit:
            raise too_large(limit)
        digest = hashlib.sha256()
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise CallerLeft
            chunk: bytes = message.get("body", b"")
            more = message.get("more_body", False)
            self.size += len(chunk)
            digest.update(chunk)
            if self.size > limit:
                raise too_large(limit)
            yield chunk
        self.digest = digest.hexdigest()

    async def body(self, limit: int = MESSAGE_LIMIT) -> bytes:
        """The whole body; errors as `chunks`."""
        parts = [chunk async for chunk in self.chunks(limit)]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def json(self, limit: int = MESSAGE_LIMIT) -> dict[str, Any]:
        """The body as a JSON object; 400 when it is none."""
        body = await self.body(limit)
        try:
            value = jiter.from_json(body, allow_inf_nan=False, cache_mode="keys")
        except ValueError as error:
            raise invalid(f"The request body is not valid JSON: {error}") from None
        if not isinstance(value, dict):
            raise invalid("Input should be a valid dictionary")
        return value

    def watch(self) -> "asyncio.Task[Message]":
        """A task that ends when the caller hangs up. The body must have been read."""
        if self._watcher is None:
            self._watcher = asyncio.ensure_future(self._hang_up())
        return self._watcher

    async def pause(self, seconds: float) -> None:
        """Waits; raises `CallerLeft` at once when the caller hangs up meanwhile."""
        done, _ = await asyncio.wait((self.watch(),), timeout=seconds)
        if done:
            raise CallerLeft

    async def _hang_up(self) -> Message:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return message


@dataclass(slots=True)
class Response:
    """An answer. A `list` body is sent part by part (a stream's events), an iterator's as they come."""

    body: bytes | list[bytes] | AsyncIterator[bytes]
    status: int = 200
    content_type: bytes = b"application/json"
    headers: Headers = field(default_factory=list)


def dump(value: object) -> bytes:
    """Compact JSON in UTF-8."""
    return _encode(value).encode()


def ok(value: object, *, headers: Headers | None = None) -> Response:
    """200 with a JSON body."""
    return Response(dump(value), headers=headers or [])


def too_large(limit: int) -> ApiError:
    """A 413 that names the limit in bytes."""
    return ApiError(413, f"Request exceeds the maximum size of {limit} bytes")


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode
