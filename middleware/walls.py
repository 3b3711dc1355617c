"""What belongs to another key does not exist: refused here, whatever the handler would do with it."""

from collections.abc import Awaitable

from connexion.middleware.abstract import RoutedMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import ownership
from gateway.catalog import Operation
from gateway.ready import DONE
from gateway.resources import WALLED_SCOPES
from middleware.operations import OperationAPI, OperationMiddleware

NAMING_SCOPES = WALLED_SCOPES | {"messages"}
"""Scopes of operations that may name a resource: messages do in their bodies."""


class _Walls:
    """One operation behind the walls."""

    def __init__(self, next_app: ASGIApp) -> None:
        self.next_app = next_app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        checking = ownership.check(scope["call"])
        if checking is DONE:
            return self.next_app(scope, receive, send)
        return self.serve(checking, scope, receive, send)

    async def serve(self, checking: Awaitable[None], scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a call once what it names is known to be its key's."""
        await checking
        await self.next_app(scope, receive, send)


class _API(OperationAPI):
    def make(self, operation: Operation, next_app: ASGIApp) -> ASGIApp:
        return _Walls(next_app) if operation.scope in NAMING_SCOPES else next_app


class Walls(OperationMiddleware, RoutedMiddleware[OperationAPI]):
    """Lets a call in that names nothing but its key's own."""

    api_cls = _API
