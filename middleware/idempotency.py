"""Requests that come again with the same `Idempotency-Key` get the answer of the first one (docs/adr/0010).

The operations that take a key say so in the spec. Without the header a request passes here untouched.
"""

import asyncio
import logging
from collections.abc import Awaitable

from connexion.middleware.abstract import RoutedMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.body import BodyReader
from gateway.call import Call
from gateway.catalog import Operation
from gateway.content import ContentGone
from gateway.errors import Conflict, GatewayError, Headers, UnprocessableEntity
from gateway.headers import header
from gateway.idempotency import (
    Claim,
    Earlier,
    FormFingerprint,
    IdempotencyKeys,
    fingerprint,
    idempotency_key,
)
from gateway.relay import EVENT_STREAM
from gateway.responses import KEEPALIVE
from middleware.operations import OperationAPI, OperationMiddleware

logger = logging.getLogger("gateway")

REPLAYED = (b"idempotency-replayed", b"true")
RETRY_AFTER = b"1"

LARGE = 1 << 20
"""Bytes of a body above which its fingerprint takes a millisecond or more."""

STALE = b"anthropic-ratelimit-"
"""Begins headers that are not replayed: they told how much was left then."""


class _Idempotency:
    """One operation that takes idempotency keys."""

    def __init__(self, next_app: ASGIApp, operation: Operation, register: IdempotencyKeys) -> None:
        self.next_app = next_app
        self.operation = operation
        self.register = register
        self.resumable = operation.id == "stream_message"

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        call: Call = scope["call"]
        if call.header(b"idempotency-key") is None:
            return self.next_app(scope, receive, send)
        return self.serve(call, scope, receive, send)

    async def serve(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that has the header."""
        value = idempotency_key(call.headers)
        # A library that connects again after the end must be told to stop, not be given the stream once more.
        if value is None or (self.resumable and call.header(b"last-event-id") is not None):
            await self.next_app(scope, receive, send)
            return
        request = _Form(call) if call.uploading else _Body(await _fingerprint(call))
        while True:
            found = await self.claim(call, value, request)
            if isinstance(found, Claim):
                await self.run(call, found, request, send)
                return
            try:
                await self.replay(call, found, request, send)
            except ContentGone:  # deleted by its key, which so frees the idempotency key
                if call.status:  # while it was sent: the answer breaks off, and nothing runs a second time
                    raise
                await self.register.drop(found)
            else:
                return

    async def claim(self, call: Call, value: bytes, request: "_Body | _Form") -> Claim | Earlier:
        """Claim the key, or find the request that came with it before and has an answer.

        Raises:
            Conflict: that request still runs.
            UnprocessableEntity: that request was another one.
        """
        assert call.key is not None
        seen = request.known
        found = await self.register.claim(call.key.id, value, self.operation.id, seen)
        if isinstance(found, Earlier):
            if seen is not None and found.fingerprint not in (None, seen):
                raise _other_request()
            if found.status is None:
                raise Conflict(
                    "a request with this Idempotency-Key is still running",
                    headers=[(b"retry-after", RETRY_AFTER)],
                )
        return found

    async def run(self, call: Call, claim: Claim, request: "_Body | _Form", send: Send) -> None:
        """Serve the request, and keep its answer where that is final."""
        if not self.operation.metered:
            # What is made stays made: it is seen to its end, so that a retry learns of it. A message costs
            # for as long as it runs and leaves nothing behind: it ends with its caller, as any.
            call.detached = True
            call.unwatch()
        answer = _Answer(call, claim, request, self.register, send)
        try:
            await self.next_app(call.scope, call.receive, answer.send)
        finally:
            await answer.close()

    async def replay(self, call: Call, earlier: Earlier, request: "_Body | _Form", send: Send) -> None:
        """Answer as the earlier request was answered.

        Raises:
            ContentGone: the answer is not kept any more, perhaps since a moment: part of it may be sent.
            UnprocessableEntity: the earlier request was another one.
        """
        assert earlier.status is not None
        pieces = call.services.content.pieces(earlier.content_id)
        piece = await anext(pieces, b"")
        if await request.whole() != earlier.fingerprint:
            raise _other_request()
        self.register.replays += 1
        streamed = header(earlier.headers, b"content-type").startswith(EVENT_STREAM)
        call.streamed = self.operation.stream == "sse" and streamed
        await send(
            {
                "type": "http.response.start",
                "status": earlier.status,
                "headers": [*earlier.headers, REPLAYED],
            }
        )
        while following := await anext(pieces, b""):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            piece = following
        await send({"type": "http.response.body", "body": piece})


class _Body:
    """A request whose body was read."""

    def __init__(self, known: bytes) -> None:
        self.known: bytes | None = known

    def digest(self) -> bytes | None:
        """The fingerprint."""
        return self.known

    async def whole(self) -> bytes | None:
        """The same."""
        return self.known


async def _fingerprint(call: Call) -> bytes:
    """What the request is known by; a large one is looked at beside the event loop."""
    if len(call.body) < LARGE:
        return fingerprint(call.method, call.target, call.body)
    return await asyncio.to_thread(fingerprint, call.method, call.target, call.body)


class _Form:
    """A request whose body is passed on as it comes, and known when it has."""

    def __init__(self, call: Call) -> None:
        self.known: bytes | None = None
        self._call = call
        content_type = call.header(b"content-type") or b""
        self._fingerprint = FormFingerprint(call.method, call.target, content_type)
        self._receive = call.receive
        call.receive = self._read_along

    def digest(self) -> bytes | None:
        """The fingerprint, once the body has gone by; None where it was no whole form."""
        return self._fingerprint.digest()

    async def whole(self) -> bytes | None:
        """The same, of a body that nobody else reads."""
        assert self._call.operation is not None
        async for _ in BodyReader(self._call.operation).stream(self._call):
            pass
        return self.digest()

    async def _read_along(self) -> Message:
        message = await self._receive()
        if body := message.get("body"):
            self._fingerprint.feed(body)
        return message


class _Answer:
    """Passes an answer on, and keeps it."""

    def __init__(
        self, call: Call, claim: Claim, request: "_Body | _Form", register: IdempotencyKeys, send: Send
    ) -> None:
        self._call = call
        self._claim = claim
        self._request = request
        self._register = register
        self._send = send
        self._status = 0
        self._headers: Headers = []
        self._body = register.writer(claim)
        self._done = False

    async def send(self, message: Message) -> None:
        """ASGI's `send`. What a caller knows is so: the last message goes out when the answer is kept, one
        that is no final answer when the key is free.
        """
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [pair for pair in message["headers"] if not pair[0].startswith(STALE)]
            if not 200 <= self._status < 300:
                await self.close()
        elif not self._done:
            await self._keep(message)
        await self._send(message)

    async def close(self) -> None:
        """Free the key of a request that got no final answer."""
        if not self._done:
            self._done = True
            await self._register.release(self._claim)
            await self._body.discard()

    async def _keep(self, message: Message) -> None:
        body = message.get("body", b"")
        try:
            if body and body is not KEEPALIVE:
                await self._body.write(body)
        except GatewayError:  # the disk is full, say; the caller gets the answer all the same
            logger.warning(
                "An answer cannot be kept for a replay", extra={"request_id": self._call.request_id}
            )
            await self.close()
            return
        if message.get("more_body"):
            return
        seen = self._request.digest()
        if seen is None or not self._final:
            await self.close()
        else:
            self._done = True
            await self._register.finish(self._claim, self._status, self._headers, self._body, seen)

    @property
    def _final(self) -> bool:
        """Whether it is whole: a stream may have ended in an error."""
        call = self._call
        return not call.streamed or (call.complete and call.stream_error is None)


def _other_request() -> UnprocessableEntity:
    return UnprocessableEntity(
        "this Idempotency-Key came with another request; a new request needs a new key"
    )


class _API(OperationAPI):
    def make(self, operation: Operation, next_app: ASGIApp) -> ASGIApp:
        takes = any(
            parameter["in"] == "header" and parameter["name"] == "Idempotency-Key"
            for parameter in operation.parameters
        )
        return _Idempotency(next_app, operation, self.services.idempotency) if takes else next_app


class Idempotency(OperationMiddleware, RoutedMiddleware[OperationAPI]):
    """Runs a request once for each idempotency key, and replays its answer."""

    api_cls = _API
