"""What our Connexion middlewares share: one object an operation, made at start, that knows the next one."""

from collections.abc import Awaitable
from typing import Any

from connexion.middleware.abstract import RoutedAPI, RoutedMiddleware
from connexion.operations import AbstractOperation
from connexion.spec import Specification
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.catalog import Operation
from gateway.services import Services


class OperationAPI(RoutedAPI[ASGIApp]):
    """One spec of a middleware. Subclasses say in `make` what serves an operation."""

    def __init__(self, specification: Specification, *args: Any, services: Services, **kwargs: Any) -> None:
        super().__init__(specification, *args, **kwargs)
        self.services = services
        self.add_paths()

    def make_operation(self, operation: AbstractOperation) -> ASGIApp:
        """Connexion's hook: called once for each operation of the spec."""
        return self.linked(self.services.catalog[operation.operation_id])

    def linked(self, operation: Operation) -> ASGIApp:
        """What serves `operation` in this middleware, knowing what serves it further in.

        Connexion registers a spec with the innermost middleware first: nothing is left to be looked up.
        """
        further: ASGIApp = self.next_app
        if isinstance(further, OperationMiddleware):
            further = further.by_id[operation.id]
        return self.make(operation, further)

    def make(self, operation: Operation, next_app: ASGIApp) -> ASGIApp:
        """The ASGI application that serves `operation` in this middleware."""
        raise NotImplementedError


class OperationMiddleware(RoutedMiddleware[OperationAPI]):
    """Connexion's routed middleware with the look-up done on the `Call`."""

    api_cls: type[OperationAPI]

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        self.by_id: dict[str, ASGIApp] = {}

    def add_api(self, specification: Specification, **kwargs: Any) -> OperationAPI:
        """Connexion's hook: called once for each spec."""
        kwargs.pop("name", None)
        api: OperationAPI = super().add_api(specification, **kwargs)
        self.by_id.update(api.operations)
        self.by_id[kwargs["services"].unlisted.id] = api.linked(kwargs["services"].unlisted)
        return api

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        http = scope["type"] == "http"
        app: ASGIApp = self.by_id[scope["call"].operation.id] if http else self.app
        return app(scope, receive, send)
