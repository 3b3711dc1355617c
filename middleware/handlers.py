"""Call the handler of an operation with the arguments that it names: the innermost application."""

import importlib
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.call import Call
from gateway.catalog import CatalogError, Operation
from middleware.operations import OperationAPI, OperationMiddleware

Handler = Callable[..., Awaitable[Any]]


def load_handler(operation: Operation) -> Handler:
    """The function that serves an operation.

    Raises:
        CatalogError: the spec promises an operation that no function serves and that is not `forward: true`.
    """
    module, _, name = operation.handler.rpartition(".")
    try:
        handler: Handler = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise CatalogError(
            f"operation {operation.id} has neither a handler nor forward: true ({error})"
        ) from error
    return handler


class _Handler:
    """One handler. It is given the call, and of path and query what its signature names."""

    def __init__(self, operation: Operation) -> None:
        self.function = load_handler(operation)
        self.names = tuple(inspect.signature(self.function).parameters)[1:]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call: Call = scope["call"]
        parameters = call.parameters
        call.response = await self.function(call, **{name: parameters.get(name) for name in self.names})


class _API(OperationAPI):
    def make(self, operation: Operation, next_app: ASGIApp) -> ASGIApp:
        return _Handler(operation)


class Handlers(OperationMiddleware):
    """The application itself: a handler's result is left in the `Call`; the response layer sends it."""

    api_cls = _API

    def __init__(self) -> None:
        super().__init__(_nothing_further)


async def _nothing_further(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError(f"no handler for a scope of type {scope['type']}")
