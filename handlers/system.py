"""The gateway's own operations: health, metrics, documentation, console. None of them costs anything."""

import json
from collections.abc import Mapping

import openapi
from gateway import __version__, pages
from gateway.call import Call
from gateway.metrics.exposition import CONTENT_TYPE
from gateway.responses import JSON_TYPE, Response

RETRY_AFTER = (b"retry-after", b"5")


async def get_health(call: Call) -> Response:
    """Whether the gateway takes work."""
    services = call.services
    healthy = services.initialized and not services.draining
    body = {
        "status": "healthy" if healthy else "unhealthy",
        "version": __version__,
        "clients_initialized": services.initialized,
    }
    return _state(body, good=healthy)


async def get_liveness(call: Call) -> Response:
    """The process answers."""
    return _state({"status": "alive"})


async def get_readiness(call: Call) -> Response:
    """Whether everything is there that requests need."""
    services = call.services
    checks = await services.checks()
    ready = all(checks.values()) and not services.draining
    upstream = "sandbox" if services.sandbox else "anthropic"
    body = {"status": "ready" if ready else "not_ready", "upstream": upstream, "checks": checks}
    return _state(body, good=ready)


async def get_metrics(call: Call) -> Response:
    """All metrics in Prometheus' text format."""
    return Response(200, [(b"content-type", CONTENT_TYPE)], await call.services.scrape.text())


async def get_docs(call: Call) -> Response:
    """The documentation page."""
    return pages.serve(call, call.services.docs, "index.html")


async def get_docs_asset(call: Call, asset: str) -> Response:
    """A file of the documentation page."""
    return pages.serve(call, call.services.docs, asset)


async def get_console(call: Call) -> Response:
    """The console's page."""
    return pages.serve(call, call.services.console, "index.html")


async def get_console_asset(call: Call, asset: str) -> Response:
    """A file of the console."""
    return pages.serve(call, call.services.console, asset)


async def get_envelope_spec(call: Call) -> Response:
    """The OpenAPI document of the envelope dialect."""
    return Response(200, [JSON_TYPE], openapi.raw("envelope"))


async def get_native_spec(call: Call) -> Response:
    """The OpenAPI document of the native dialect."""
    return Response(200, [JSON_TYPE], openapi.raw("native"))


def _state(body: Mapping[str, object], *, good: bool = True) -> Response:
    headers = [JSON_TYPE] if good else [JSON_TYPE, RETRY_AFTER]
    return Response(200 if good else 503, headers, json.dumps(body, separators=(",", ":")).encode())
