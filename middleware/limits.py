"""Requests a minute and calls at a time of a key: refused here, nothing of the body has been read.

Tokens are counted where the prompt's size is known (`gateway.accounting`).
"""

from connexion.middleware.abstract import RoutedMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.call import Call
from gateway.catalog import Operation
from gateway.limits import Admission, Limiter
from middleware.operations import OperationAPI, OperationMiddleware


class _Limits:
    """One operation that goes upstream, behind the limits of the key that calls it."""

    def __init__(self, next_app: ASGIApp, limiter: Limiter) -> None:
        self.next_app = next_app
        self.limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call: Call = scope["call"]
        if call.key is not None and not call.key.limits.unlimited:
            call.admission = Admission(call.key)  # `Services.finish` releases it, whatever happens from here
            call.in_line = True
            await self.limiter.admit(call.admission)
            call.in_line = False
        await self.next_app(scope, receive, send)


class _API(OperationAPI):
    def make(self, operation: Operation, next_app: ASGIApp) -> ASGIApp:
        return _Limits(next_app, self.services.limiter) if operation.goes_upstream else next_app


class Limits(OperationMiddleware, RoutedMiddleware[OperationAPI]):
    """Lets a call in when its key has room for it, in line where the key's calls at a time are limited."""

    api_cls = _API
