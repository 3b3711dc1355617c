"""The wiring: two specs, the chain of middlewares and the handlers become one ASGI application."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, cast

from connexion import AsyncApp
from connexion.apps.abstract import AbstractApp
from connexion.middleware.lifespan import LifespanMiddleware
from connexion.middleware.main import API
from connexion.resolver import Resolution, Resolver
from connexion.spec import OpenAPISpecification
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.catalog import BASE_PATHS
from gateway.errors import Dialect
from gateway.services import DIALECTS, Services
from middleware import chain
from middleware.handlers import Handlers, load_handler


class App(AsyncApp):
    """Connexion's application with our own innermost layer.

    Args:
        services: what handlers and middlewares stand on; opened and closed with the application.
    """

    def __init__(self, services: Services) -> None:
        @asynccontextmanager
        async def lifespan(_: Any) -> AsyncIterator[None]:
            await services.start()
            try:
                yield
            finally:
                await services.close()

        self._middleware_app = Handlers()
        # Past AsyncApp's own constructor, which would put Connexion's innermost layer in the place of ours.
        AbstractApp.__init__(self, "gateway", lifespan=lifespan, middlewares=[_Lifespan, *chain(services)])

    def add_spec(self, dialect: Dialect, services: Services, resolver: Resolver) -> None:
        """What `add_api` does, for a document that was validated before it was committed."""
        options = self.middleware.options.replace(resolver=resolver)
        specification = _CheckedSpecification(services.bundles[dialect])
        api = API(specification, base_path=BASE_PATHS[dialect], name=None, services=services, **vars(options))
        self.middleware.apis.append(api)

    def build(self) -> ASGIApp:
        """Make the chain now; Connexion would at the first event, where a fault is hard to see.

        Returns:
            Its outermost part. Connexion's own frames around it do nothing once it is made.
        """
        chain, _ = self.middleware._build_middleware_stack()
        return cast(ASGIApp, chain)


def create_app(services: Services) -> ASGIApp:
    """The whole gateway as an ASGI application.

    Args:
        services: made by `gateway.server` or a test.

    Raises:
        gateway.catalog.CatalogError: an operation of a spec has neither a handler nor `forward: true`.
    """
    app = App(services)
    resolver = _Resolver(services)
    for dialect in DIALECTS:  # the empty base path of the envelope would swallow /v1: it comes last
        app.add_spec(dialect, services, resolver)
    return app.build()


class _Lifespan(LifespanMiddleware):
    """Connexion's, which opens and closes the services; a request does not stop here."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        app: ASGIApp = self.router if scope["type"] == "lifespan" else self.next_app
        return app(scope, receive, send)


class _CheckedSpecification(OpenAPISpecification):
    """A committed bundle as it is: the lint has held it to OpenAPI's schema, which takes over a second.

    Connexion would copy it three times, to put what references point to in their place; it reads the paths,
    methods, tags and operationIds alone here, and what reads more follows references (`gateway.catalog`).
    """

    def __init__(self, raw_spec: dict[str, Any], *, base_uri: str = "") -> None:
        self._raw_spec = self._spec = raw_spec
        self._base_uri = base_uri


class _Resolver(Resolver):
    """From an operation to its handler, by the rule of `gateway.catalog`: dialect, tag, operationId."""

    def __init__(self, services: Services) -> None:
        super().__init__()
        self.catalog = services.catalog

    def resolve(self, operation: Any) -> Resolution:
        """Connexion's hook: called once for each operation and middleware."""
        operation_id = operation.operation_id
        return Resolution(load_handler(self.catalog[operation_id]), operation_id)
