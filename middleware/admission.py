"""What is refused before anything is looked up: new work while the gateway stops or has no room, and
requests that a proxy on the way may have understood differently.
"""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import BadRequest, Overloaded, ServiceUnavailable
from gateway.head import Head
from gateway.routes import check_target
from gateway.services import Services

ALWAYS = frozenset({b"/health", b"/health/live", b"/health/ready", b"/metrics"})
"""Answered to the end, so that a balancer sees what happens."""


class Admission:
    """Lets a request in, or raises its refusal."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self.app = app
        self.services = services
        self.most = services.settings.max_inflight_requests

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http":
            if self.services.draining and scope["raw_path"] not in ALWAYS:
                raise ServiceUnavailable("the gateway is stopping", retry_after=5)
            if len(self.services.calls) > self.most and scope["raw_path"] not in ALWAYS:
                raise Overloaded(
                    f"the gateway serves {self.most} requests at a time; try again", retry_after=1
                )
            head: Head = scope["call"].head
            if not head.sound:
                check_target(head.path)
                check_host(scope)
                head.sound = True
        return self.app(scope, receive, send)


def check_host(scope: Scope) -> None:
    """Refuse a request that names no host, or two (RFC 9112 §3.2).

    Raises:
        BadRequest: it does.
    """
    named = [name for name, _ in scope["headers"]].count(b"host")
    if named != 1 and (named or scope["http_version"] == "1.1"):
        raise BadRequest("the request must have one Host header")
