"""The sandbox as an ASGI application: one call from its arrival to its last byte."""

import logging
from collections.abc import AsyncIterator

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from sandbox import auth, scenarios
from sandbox.contract import Contract
from sandbox.errors import ApiError, Headers
from sandbox.http import CallerLeft, Cut, Receive, Request, Response, Scope, Send, dump
from sandbox.routes import State, routes
from sandbox.settings import Settings

log = logging.getLogger(__name__)

ORGANIZATION = b"5a4db0c5-0000-4000-8000-000000000000"
"""What each answer names as the caller's organization."""


class Sandbox:
    """Anthropic's API, played by a program.

    Args:
        settings: durations and bounds.
        contract: the native spec; by default the committed bundle.
    """

    def __init__(self, settings: Settings | None = None, *, contract: Contract | None = None) -> None:
        contract = contract or Contract()  # not kept: its megabytes would only slow the garbage collector
        self.state = State(settings or Settings(), contract)
        self._router = routes(self.state, contract)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry, for scopes of type `http`."""
        request = Request(scope, receive, self.state.ids.new("req"))
        own = scope["path"].startswith("/_sandbox/")
        record = None if own else self.state.recorder.begin(request)
        left = False
        try:
            response = await self._answer(request, own=own)
            headers = _headers(request, response)
            if record is not None:
                record.status = response.status
                headers += self.state.limits.headers()
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            await _send_body(request, response.body, send)
        except CallerLeft:
            left = True
        except Cut:
            _abort(send)
        if record is not None:
            record.end(request, caller_left=left)

    async def _answer(self, request: Request, *, own: bool) -> Response:
        try:
            handler = self._router.match(request)
            if own:
                return await handler(request)
            auth.check(request.headers)
            wanted = request.headers.get(scenarios.HEADER)
            if wanted is None:
                return await handler(request)
            scenario = self.state.scenarios.find(wanted.decode("latin-1"))
            return await scenario.play(request, await handler(request))
        except ApiError as error:
            return Response(dump(error.body(request.id)), error.status, headers=error.headers)
        except (CallerLeft, Cut):
            raise
        except Exception:
            log.exception("%s %s failed", request.method, request.scope["path"])
            failure = ApiError(500, "Internal server error")
            return Response(dump(failure.body(request.id)), failure.status)

    async def close(self) -> None:
        """Ends what runs in the background and removes the stored files."""
        await self.state.close()


def _headers(request: Request, response: Response) -> Headers:
    body = response.body
    framing = (
        (b"content-length", b"%d" % len(body)) if isinstance(body, bytes) else (b"cache-control", b"no-cache")
    )
    return [
        (b"content-type", response.content_type),
        (b"request-id", request.id.encode()),
        (b"anthropic-organization-id", ORGANIZATION),
        framing,
        *response.headers,
    ]


async def _send_body(request: Request, body: bytes | list[bytes] | AsyncIterator[bytes], send: Send) -> None:
    if isinstance(body, bytes):
        await send({"type": "http.response.body", "body": body})
        return
    if isinstance(body, list):
        for part in body:
            await send({"type": "http.response.body", "body": part, "more_body": True})
    else:
        left = request.watch()
        async for part in body:
            if left.done():
                raise CallerLeft
            await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})


def _abort(send: Send) -> None:
    """Closes the connection. ASGI has no message for it, but uvicorn's `send` knows the transport."""
    cycle = getattr(send, "__self__", None)
    if isinstance(cycle, RequestResponseCycle):
        cycle.disconnected = True
        cycle.transport.close()
