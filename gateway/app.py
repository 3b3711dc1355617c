"""The wiring: two specs, the chain of middlewares and the handlers become one ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from connexion import AsyncApp
from connexion.apps.abstract import AbstractApp
from connexion.middleware.lifespan import LifespanMiddleware
from connexion.resolver import Resolution, Resolver
from starlette.types import ASGIApp

from gateway.catalog import BASE_PATHS
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
        AbstractApp.__init__(
            self, "gateway", lifespan=lifespan, middlewares=[*chain(services), LifespanMiddleware]
        )

    def build(self) -> None:
        """Make the chain now; Connexion would at the first event, where a fault is hard to see."""
        self.middleware.app, self.middleware.middleware_stack = self.middleware._build_middleware_stack()


def create_app(services: Services) -> ASGIApp:
    """The whole gateway as an ASGI application.

    Args:
        services: made by `gateway.server` or a test.

    Raises:
        gateway.catalog.CatalogError: an operation of a spec has neither a handler nor `forward: true`.
    """
    for operation in services.catalog:
        load_handler(operation)
    app = App(services)
    resolver = _Resolver(services)
    for dialect in DIALECTS:  # the empty base path of the envelope would swallow /v1: it comes last
        app.add_api(
            services.bundles[dialect], base_path=BASE_PATHS[dialect], resolver=resolver, services=services
        )
    app.build()
    return app


class _Resolver(Resolver):
    """From an operation to its handler, by the rule of `gateway.catalog`: dialect, tag, operationId."""

    def __init__(self, services: Services) -> None:
        super().__init__()
        self.catalog = services.catalog

    def resolve(self, operation: Any) -> Resolution:
        """Connexion's hook: called once for each operation and middleware."""
        operation_id = operation.operation_id
        return Resolution(load_handler(self.catalog[operation_id]), operation_id)
