"""A collector of OpenTelemetry's that keeps the spans it is sent: OTLP over HTTP, protobuf."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.gateway import eventually

DEADLINE = 20.0


@dataclass
class Span:
    """One span; `kind` is `SERVER` or `CLIENT`, ids are hexadecimal."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    state: str
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]
    events: int


@dataclass
class Collector:
    """What came, also as bytes, and the headers it came with."""

    url: str
    spans: list[Span] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def trace(self, trace_id: str) -> list[Span]:
        """The spans of a trace, its SERVER span first, once that is there; fails when it does not come."""

        def find() -> list[Span] | None:
            found = [span for span in list(self.spans) if span.trace_id == trace_id]
            found.sort(key=lambda span: span.kind != "SERVER")
            return found if found and found[0].kind == "SERVER" else None

        return eventually(find, DEADLINE)


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces"
            collector.bodies.append(body)
            collector.headers.append({name.lower(): value for name, value in self.headers.items()})
            collector.spans += _spans(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _spans(request: ExportTraceServiceRequest) -> list[Span]:
    return [
        Span(
            span.name,
            type(span).SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.trace_state,
            span.status.code == 2,
            _attributes(span.attributes),
            _attributes(resource.resource.attributes),
            len(span.events),
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _attributes(pairs: Any) -> dict[str, Any]:
    def read(value: Any) -> Any:
        kind = value.WhichOneof("value")
        if kind == "array_value":
            return [read(item) for item in value.array_value.values]
        return getattr(value, kind)

    return {pair.key: read(pair.value) for pair in pairs}
