"""Who calls, and whether the key may: Connexion's security layer with the scope of each operation."""

import asyncio
import hmac
from collections.abc import Awaitable

from connexion.middleware.security import SecurityMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.call import Call
from gateway.catalog import Operation
from gateway.errors import AuthenticationFailed, NotFound, PermissionDenied
from gateway.keys.secret import digest
from gateway.origin import client_address
from gateway.services import Services
from middleware.operations import OperationAPI, OperationMiddleware


class _Security:
    """One operation behind its key check."""

    def __init__(self, next_app: ASGIApp, operation: Operation, services: Services) -> None:
        self.next_app = next_app
        self.operation = operation
        self.services = services

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        call: Call = scope["call"]
        if self.operation.scope is not None:
            try:
                self.authorise(call)
            except AuthenticationFailed as refusal:
                if presented_secret(call) is None:  # who sends none is not guessing
                    raise
                return self.refuse_slowly(call, refusal)
        return self.next_app(scope, receive, send)

    async def refuse_slowly(self, call: Call, refusal: AuthenticationFailed) -> None:
        """Hold back the answer to an address that tries one wrong key after another."""
        delay = self.services.wrong_keys.check(client_address(call))
        if delay:
            await asyncio.sleep(delay)
        raise refusal

    def authorise(self, call: Call) -> None:
        """Find the key of a call and check its scope.

        Raises:
            AuthenticationFailed: no key, or one that is unknown, revoked or expired.
            PermissionDenied: the key lacks the operation's scope.
            NotFound: a path that the spec lacks, for other keys than an admin's.
        """
        hashed = call.head.digest
        if hashed is None:
            secret = presented_secret(call)
            if secret is None:
                raise AuthenticationFailed
            hashed = call.head.digest = digest(secret)
        call.key = key = self.services.keys.opened_by(hashed)
        assert self.operation.scope is not None
        if key.may(self.operation.scope):
            return
        if self.operation is self.services.unlisted:
            raise NotFound("there is nothing at this path")
        raise PermissionDenied(f"this key lacks the scope {self.operation.scope}")


def presented_secret(call: Call) -> str | None:
    """The key that a caller sent, as `x-api-key` or as `Authorization: Bearer` (RFC 6750 §2.1), or None."""
    bearer = None
    for name, value in call.headers:
        if name == b"x-api-key" and value:  # some clients send it empty beside their bearer token
            return value.strip().decode("latin-1")
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            bearer = value[7:].strip().decode("latin-1")
    return bearer


class _MetricsSecurity(_Security):
    """`/metrics`: open by setting, or to METRICS_KEY, which opens nothing else, or to an admin."""

    def authorise(self, call: Call) -> None:
        settings, secret = self.services.settings, presented_secret(call)
        if settings.metrics_public:
            return
        if settings.metrics_key is not None and secret is not None:
            expected = settings.metrics_key.get_secret_value()
            if hmac.compare_digest(secret.encode(), expected.encode()):
                return
        super().authorise(call)


class _API(OperationAPI):
    def make(self, operation: Operation, next_app: ASGIApp) -> ASGIApp:
        security = _MetricsSecurity if operation.id == "get_metrics" else _Security
        return security(next_app, operation, self.services)


class Security(OperationMiddleware, SecurityMiddleware):
    """Checks the key of each request that needs one."""

    api_cls = _API
