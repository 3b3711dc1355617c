"""Answers preflights, which carry no key; Starlette's, with its refusals told as all others are."""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.call import Call
from gateway.errors import BadRequest
from gateway.responses import error_response


class Cors(CORSMiddleware):
    """Cross-origin requests by `CORS_ORIGINS` (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """What Starlette says, a refusal in the dialect of the path."""
        response = super().preflight_response(request_headers)
        return response if response.status_code < 400 else _Refusal(response)


class _Refusal(Response):
    """A refusal of Starlette's, which does not know whom it refuses before it is sent."""

    def __init__(self, told: Response) -> None:
        super().__init__()
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        call: Call = scope["call"]
        kept = [
            pair for pair in self._told.raw_headers if pair[0] not in (b"content-type", b"content-length")
        ]
        error = BadRequest(bytes(self._told.body).decode(), headers=kept)
        call.services.refused(call, error)
        await error_response(call, error)(scope, receive, send)
