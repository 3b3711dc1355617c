"""Which operation a request is for: Connexion's routing on a tree of raw path segments."""

from collections.abc import Awaitable
from typing import Any

from connexion.middleware.routing import RoutingAPI, RoutingMiddleware
from connexion.operations import AbstractOperation
from connexion.spec import Specification
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.call import Call
from gateway.catalog import Catalog, Operation
from gateway.errors import MethodNotAllowed, NotFound
from gateway.routes import Routes, path_parameters

DOUBLED = (b"/v1/v1/", b"/api/v1/v1/")
"""What the SDK asks for when its base URL ends in one of our own prefixes."""


class Routing(RoutingMiddleware):
    """Writes the operation and the path parameters into the `Call`."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        self.routes: Routes[Operation] = Routes()

    def add_api(self, specification: Specification, base_path: str | None = None, **kwargs: Any) -> None:
        """Connexion's hook: called once for each spec."""
        _API(specification, base_path=base_path, next_app=self.app, routes=self.routes, **kwargs)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http":
            self.route(scope["call"])
        app: ASGIApp = self.app
        return app(scope, receive, send)

    def route(self, call: Call) -> None:
        """Find the operation of a call.

        A path under `/v1` that the spec lacks goes on as `unlisted`: the security layer knows who may use it.

        Raises:
            NotFound: no such path.
            MethodNotAllowed: the path is there, the method is not.
        """
        route = call.head.route
        if route is None:
            self.find(call)
            assert call.operation is not None
            call.head.route = (call.operation, call.dialect, call.parameters)
        else:
            call.operation, call.dialect, call.parameters = route

    def find(self, call: Call) -> None:
        """The same for a head that was not seen before."""
        found = self.routes.find(call.path)
        if found is None:
            if call.path.startswith(DOUBLED):
                raise NotFound("the base URL of an SDK is the gateway's address alone: it adds /v1 by itself")
            if call.dialect != "native":
                raise NotFound("there is nothing at this path; /docs lists what there is")
            call.operation = call.services.unlisted
            return
        methods, values, names = found
        operation = methods.get(call.method)
        if operation is None and call.method == "HEAD":
            operation = _headable(methods)
        if operation is None:
            allowed = [*methods, "HEAD"] if _headable(methods) else list(methods)
            raise MethodNotAllowed(call.method, allowed)
        call.operation = operation
        call.dialect = operation.dialect  # which an encoded letter in the path may hide from `dialect_of`
        if values:
            call.parameters = path_parameters(names[operation.method], values)


def _headable(methods: dict[str, Operation]) -> Operation | None:
    """The GET that also answers HEAD (RFC 9110 §9.3.2): one whose answer is not a stream."""
    get = methods.get("GET")
    return get if get is not None and get.stream is None else None


class _API(RoutingAPI):
    """Registers the operations of one spec in the tree instead of in Starlette's router."""

    def __init__(self, *args: Any, routes: Routes[Operation], services: Any, **kwargs: Any) -> None:
        self.routes = routes
        self.catalog: Catalog = services.catalog
        super().__init__(*args, **kwargs)

    def make_operation(self, operation: AbstractOperation) -> Operation:
        return self.catalog[operation.operation_id]

    @staticmethod
    def _framework_path_and_name(operation: AbstractOperation, path: str) -> tuple[str, str]:
        return path, path

    def _add_operation_internal(
        self, method: str, path: str, operation: Operation, name: str | None = None
    ) -> None:
        self.routes.add(method.upper(), self.base_path.rstrip("/") + path, operation)
