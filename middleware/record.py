"""The record of each request: made first, closed last, because only here is the final status known."""

import asyncio
from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.call import Call
from gateway.errors import Headers
from gateway.services import Services


class Record:
    """Makes the `Call`, gives the answer its `X-Request-ID`, closes the books when the last byte is out."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self.app = app
        self.services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        call = Call(self.services, scope, receive)
        scope["call"] = call
        if self.services.tracing is not None:
            call.trace = self.services.tracing.begin(call)
        own_headers = [(b"x-request-id", call.request_id.encode()), *self.services.response_headers]

        def send_recorded(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                call.status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    *own_headers,
                    *_quota_headers(call),
                    *_cache_headers(call),
                ]
            elif call.first_byte is None:
                call.first_byte = call.elapsed
            return send(message)

        self.services.calls.add(call)
        try:
            await self.app(scope, receive, send_recorded)
        except asyncio.CancelledError:
            if not (call.disconnected or call.stopped) or call.task is None:
                raise
            call.task.uncancel()
        finally:
            del scope["call"]  # which knows its scope: its memory comes free now, not when it is looked for
            call.unwatch()
            if call.answer is not None:
                call.answer.close()
            if call.disconnected:
                call.status = 499
            # What was sent last leaves at the end of this turn of the loop: the books are closed in the next.
            asyncio.get_running_loop().call_soon(self._close, call)

    def _close(self, call: Call) -> None:
        self.services.calls.discard(call)
        self.services.finish(call)


UNSTORED: Headers = [(b"cache-control", b"no-store")]


def _cache_headers(call: Call) -> Headers:
    """What is behind a key is kept by no cache on the way; streams of events say so themselves.

    Caches know by themselves to keep no answer to `Authorization` (RFC 9111 §3.5), but not to `x-api-key`.
    """
    operation = call.operation
    if operation is None or operation.scope is None or (call.streamed and operation.stream == "sse"):
        return []
    return UNSTORED


def _quota_headers(call: Call) -> Headers:
    """The limits of the caller's own key, as Anthropic tells them; a native answer has Anthropic's alone."""
    if call.admission is None or call.dialect == "native":
        return []
    return [header for quota in call.admission.quotas for header in quota.headers()]
