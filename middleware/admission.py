"""What is refused before anything is looked up: new work while the gateway stops, and ambiguous paths."""

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import ServiceUnavailable
from gateway.routes import check_target
from gateway.services import Services

ALWAYS = frozenset({b"/health", b"/health/live", b"/health/ready", b"/metrics"})
"""Answered to the end, so that a balancer sees what happens."""


class Admission:
    """Lets a request in, or raises its refusal."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self.app = app
        self.services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if self.services.draining and scope["raw_path"] not in ALWAYS:
                raise ServiceUnavailable("the gateway is stopping", retry_after=5)
            check_target(scope["raw_path"])
        await self.app(scope, receive, send)
