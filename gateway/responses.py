"""The two forms in which an answer leaves: one body, or chunks as they come."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import Any

from starlette.types import Receive, Scope, Send

from gateway.call import Call
from gateway.errors import GatewayError, Headers, render
from gateway.http1 import Handle
from gateway.ready import DONE

KEEPALIVE_SECONDS = 15.0
"""Silence after which an event stream gets a comment, so that no proxy takes it for dead."""

KEEPALIVE = b": keep-alive\n\n"
BODILESS_STATUSES = frozenset({204, 304})
"""Whose answers have no body, and say nothing of its length (RFC 9110 §8.6)."""

JSON_TYPE = (b"content-type", b"application/json")
STREAM_HEADERS: Headers = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]


class Response:
    """An answer that is whole. It is an ASGI application, as Connexion expects of a handler's result.

    `data` is the parsed JSON that the contract speaks of (in the envelope: the member `data`), where it is
    known already, so that validation need not parse the body again.
    """

    __slots__ = ("body", "data", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: bytes, data: Any = None) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.data = data

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = self.headers
        if self.status not in BODILESS_STATUSES:
            headers = [*headers, (b"content-length", b"%d" % len(self.body))]
        started = send({"type": "http.response.start", "status": self.status, "headers": headers})
        if started is not DONE:
            await started
        await send({"type": "http.response.body", "body": self.body})


class StreamResponse:
    """An answer that is passed on as it comes, one ASGI message a piece. Subclasses say where it comes from.

    Args:
        call: the request it answers.
        status: HTTP status.
        headers: response headers.
        at_boundary: for event streams: whether the bytes sent so far end between two events. Where given,
            silence is filled with comments at such places.
        failure: what to send, as the last piece, when the body breaks off; without it the connection is cut,
            as a caller must be able to tell a whole body from a broken one.
    """

    __slots__ = ("at_boundary", "call", "failure", "headers", "status")

    def __init__(
        self,
        call: Call,
        status: int,
        headers: Headers,
        *,
        at_boundary: Callable[[], bool] | None = None,
        failure: Callable[[BaseException], bytes] | None = None,
    ) -> None:
        self.call = call
        self.status = status
        self.headers = headers
        self.at_boundary = at_boundary
        self.failure = failure

    async def pass_on(self, handle: Handle) -> None:
        """Give the body to `handle`, piece by piece; return, or raise, when it is over."""
        raise NotImplementedError

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.call.streamed = True
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        outlet = _Outlet(send, self.at_boundary)
        try:
            await self.pass_on(outlet.send)
        except asyncio.CancelledError as error:
            if not self.call.stopped or self.failure is None:
                raise
            await send({"type": "http.response.body", "body": self.failure(error), "more_body": True})
        except GatewayError as error:
            if self.failure is None:
                raise
            await send({"type": "http.response.body", "body": self.failure(error), "more_body": True})
        finally:
            outlet.stop()
        await send({"type": "http.response.body", "body": b""})


class ChunkResponse(StreamResponse):
    """One whose pieces an iterator makes, which is closed in every case."""

    __slots__ = ("chunks",)

    def __init__(
        self, call: Call, status: int, headers: Headers, chunks: AsyncIterator[bytes], **named: Any
    ) -> None:
        super().__init__(call, status, headers, **named)
        self.chunks = chunks

    async def pass_on(self, handle: Handle) -> None:
        try:
            async for chunk in self.chunks:
                if waiting := handle(chunk):
                    await waiting
        finally:
            await self.chunks.aclose()  # type: ignore[attr-defined]


class _Outlet:
    """Where the pieces of a stream go out; fills long silence with comments, where it may.

    `busy` while a piece is being sent.
    """

    __slots__ = ("_at_boundary", "_last", "_loop", "_send", "_task", "_timer", "busy")

    def __init__(self, send: Send, at_boundary: Callable[[], bool] | None) -> None:
        self._send = send
        self._at_boundary = at_boundary
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self.busy = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        if at_boundary is not None:
            self._timer = self._loop.call_later(KEEPALIVE_SECONDS, self._tick)

    def send(self, piece: bytes) -> Awaitable[None] | None:
        """Send a piece; returns what is to be awaited before the next one, if anything."""
        self.busy = True
        sending = self._send({"type": "http.response.body", "body": piece, "more_body": True})
        if sending is not DONE:
            return _Sending(sending, self.sent)
        self.sent()
        return None

    def sent(self) -> None:
        self.busy = False
        self._last = self._loop.time()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _tick(self) -> None:
        idle = self._loop.time() - self._last
        if idle >= KEEPALIVE_SECONDS and not self.busy and self._between_events():
            self._task = self._loop.create_task(self._comment())
            idle = 0.0
        self._timer = self._loop.call_later(max(KEEPALIVE_SECONDS - idle, 0.05), self._tick)

    async def _comment(self) -> None:
        if self.busy or not self._between_events():
            return  # part of an event went out since the tick
        await self._send({"type": "http.response.body", "body": KEEPALIVE, "more_body": True})
        self._last = self._loop.time()

    def _between_events(self) -> bool:
        return self._at_boundary is not None and self._at_boundary()


class _Sending:
    """A piece that cannot be sent at once, to be awaited, or closed when it is not sent at all."""

    __slots__ = ("_sending", "_sent")

    def __init__(self, sending: Awaitable[None], sent: Callable[[], None]) -> None:
        self._sending = sending
        self._sent = sent

    def __await__(self) -> Generator[Any, None, None]:
        yield from self._sending.__await__()
        self._sent()

    def close(self) -> None:
        if isinstance(self._sending, Coroutine):
            self._sending.close()


def error_response(call: Call, error: GatewayError) -> Response:
    """An error in the dialect of the call's path; the SDK reads the native one's id from `request-id`."""
    headers = [JSON_TYPE, *error.headers]
    if call.dialect == "native":
        headers.append((b"request-id", call.request_id.encode()))
    return Response(error.status, headers, render(error, call.dialect, call.request_id))


def envelope(
    call: Call, data: bytes, parsed: Any = None, *, status: int = 200, headers: Headers | None = None
) -> Response:
    """Wrap JSON bytes, unchanged, into the envelope's success object.

    Args:
        call: the request that is answered.
        data: valid JSON, spliced in as it is.
        parsed: the same, parsed, where the caller has it.
        status: HTTP status.
        headers: further response headers.
    """
    upstream = json.dumps(call.upstream_request_id).encode()
    body = (
        b'{"success":true,"data":%b,"metadata":{"request_id":"%b","processing_time_ms":%d,"upstream_request_id":%b}}'
        % (data.strip(), call.request_id.encode(), call.elapsed * 1000, upstream)
    )
    return Response(status, [JSON_TYPE, *(headers or ())], body, parsed)


def answer(call: Call, value: Any, *, status: int = 200, headers: Headers | None = None) -> Response:
    """The envelope's success object around a value of the gateway's own.

    Args:
        call: the request that is answered.
        value: what JSON can say.
        status: HTTP status.
        headers: further response headers.
    """
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return envelope(call, data, value, status=status, headers=headers)
