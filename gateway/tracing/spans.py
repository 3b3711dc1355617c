"""The spans: one a request (SERVER), and in it one an attempt upstream (CLIENT).

Attributes are those of OpenTelemetry's semantic conventions for HTTP and for Anthropic's GenAI clients
(https://opentelemetry.io/docs/specs/semconv/gen-ai/anthropic/). Never a prompt, an answer, a key or a query:
an exception is told by its class alone, as its message may quote its input.
"""

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anthropic
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway import __version__
from gateway.metrics import OTHER
from gateway.prices import NANODOLLARS

if TYPE_CHECKING:
    from gateway.call import Call
    from gateway.pool import Answer
    from gateway.upstream import Exchange

LAST_SPANS_SECONDS = 3.0
"""What the collector gets to take the last spans when the gateway stops."""

UNTRACED = "system"
"""The tag of operations that probes ask all day: health, metrics, documentation."""

TRACE_HEADERS = (b"traceparent", b"tracestate")

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,99}")

Send = Callable[["Exchange", int], Awaitable["Answer"]]


class Tracing:
    """Makes the spans and hands them to the exporter, whose thread never keeps a request waiting.

    Args:
        upstream_url: where calls go.
        console: write spans to stdout instead of to a collector.
    """

    def __init__(self, upstream_url: str, *, console: bool = False) -> None:
        self.provider = TracerProvider(
            resource=Resource.create({"service.version": __version__}), shutdown_on_exit=False
        )
        self.provider.add_span_processor(BatchSpanProcessor(_console() if console else _otlp()))
        self.tracer = self.provider.get_tracer("gateway", __version__)
        self.propagator = TraceContextTextMapPropagator()
        url = urlsplit(upstream_url)
        self.server = {
            "server.address": url.hostname or "",
            "server.port": url.port or (443 if url.scheme == "https" else 80),
        }

    def begin(self, call: "Call") -> "CallTrace":
        """Begin the span of a request, within the caller's trace if it names one."""
        return CallTrace(self, call)

    async def close(self) -> None:
        """Export what is left; a collector that does not answer holds nobody up for long."""
        closing = threading.Thread(target=self.provider.shutdown, name="tracing-shutdown", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, LAST_SPANS_SECONDS)


class CallTrace:
    """The spans of one request.

    Args:
        tracing: where they go.
        call: the request.

    Attributes:
        trace_id: 32 hexadecimal digits.
    """

    __slots__ = ("_attempt", "_call", "_context", "_span", "_tracing", "trace_id")

    def __init__(self, tracing: Tracing, call: "Call") -> None:
        self._tracing = tracing
        self._call = call
        self._span = tracing.tracer.start_span(
            call.method,
            context=tracing.propagator.extract(_carrier(call), context=Context()),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": call.method,
                "url.scheme": str(call.scope.get("scheme", "http")),
                "url.path": call.path.decode("latin-1"),
                "anthropic_gateway.request_id": call.request_id,
            },
        )
        self._context = set_span_in_context(self._span, Context())
        self._attempt: Span | None = None
        self.trace_id = format_trace_id(self._span.get_span_context().trace_id)

    async def attempt(self, exchange: "Exchange", retries_taken: int, send: Send) -> "Answer":
        """Send a request upstream within a span of its own, which goes on until the answer is over.

        Args:
            exchange: the request; its trace headers become those of the span.
            retries_taken: how many attempts failed before.
            send: sends it.
        """
        self._end_attempt()
        span = self._attempt = self._begin_attempt(exchange, retries_taken)
        headers = {
            name: value for name, value in exchange.headers.items() if name.encode() not in TRACE_HEADERS
        }
        self._tracing.propagator.inject(headers, set_span_in_context(span, Context()))
        exchange.headers = headers
        try:
            answer = await send(exchange, retries_taken)
        except BaseException as error:
            _fail(span, _name(error))
            self._end_attempt()
            raise
        span.set_attribute("http.response.status_code", answer.status)
        if answer.status >= 400:
            _fail(span, str(answer.status))
        return answer

    def end(self) -> None:
        """End the spans: the request is over, and settled if it cost something."""
        call, span = self._call, self._span
        if self._attempt is not None:
            if call.entry is not None:
                self._attempt.set_attributes(_outcome(call))
            if call.stream_error is not None:
                _fail(self._attempt, call.stream_error)
            self._end_attempt()
        if call.operation is not None:
            if call.operation.tag == UNTRACED:
                return  # never ended, never exported
            route = call.operation.path
            span.update_name(f"{call.method} {route}")
            span.set_attributes({"http.route": route, "anthropic_gateway.operation": call.operation.id})
        if call.key is not None:
            span.set_attribute("anthropic_gateway.key", call.key.name)
        if call.status:
            span.set_attribute("http.response.status_code", call.status)
        if call.stream_error is not None or call.status >= 500:
            _fail(span, call.stream_error or str(call.status))
        span.end()

    def _begin_attempt(self, exchange: "Exchange", retries_taken: int) -> Span:
        call = self._call
        attributes: dict[str, Any] = {"http.request.method": exchange.method, **self._tracing.server}
        name = exchange.method
        if retries_taken:
            attributes["http.request.resend_count"] = retries_taken
        if call.operation is not None and call.operation.metered:
            model = _model(call.model)
            name = f"chat {model}"
            attributes |= {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "anthropic",
                "gen_ai.request.model": model,
            }
            if call.entry is not None:
                attributes["gen_ai.request.max_tokens"] = call.entry.max_tokens
        tracer: Tracer = self._tracing.tracer
        return tracer.start_span(name, context=self._context, kind=SpanKind.CLIENT, attributes=attributes)

    def _end_attempt(self) -> None:
        if self._attempt is not None:
            self._attempt.end()
            self._attempt = None


def _outcome(call: "Call") -> dict[str, Any]:
    """What came of a call that costs tokens. All input tokens are counted as one, as the conventions ask."""
    attributes: dict[str, Any] = {}
    if call.complete:
        attributes["gen_ai.response.model"] = _model(call.model)
    if call.stop_reason is not None:
        attributes["gen_ai.response.finish_reasons"] = [call.stop_reason]
    if call.upstream_request_id is not None:
        attributes["anthropic_gateway.upstream_request_id"] = call.upstream_request_id
    if call.usage is not None:
        total = call.usage.total
        attributes |= {
            "gen_ai.usage.input_tokens": total.prompt_tokens,
            "gen_ai.usage.output_tokens": total.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": total.cache_read_tokens,
            "gen_ai.usage.cache_creation.input_tokens": (
                total.cache_write_5m_tokens + total.cache_write_1h_tokens
            ),
            "anthropic_gateway.usage.estimated": call.usage.estimated,
        }
    if call.cost_nanodollars is not None:
        attributes["anthropic_gateway.cost_usd"] = call.cost_nanodollars / NANODOLLARS
    return attributes


def _fail(span: Span, error_type: str) -> None:
    span.set_attribute("error.type", error_type)
    span.set_status(StatusCode.ERROR)


def _name(error: BaseException) -> str:
    """`error.type` of a failure: the status where there was one, else the exception's class."""
    return str(error.status_code) if isinstance(error, anthropic.APIStatusError) else type(error).__name__


def _model(name: str | None) -> str:
    """A model's name; what cannot be one may be anything, and is left out."""
    return name if name is not None and _MODEL.fullmatch(name) else OTHER


def _carrier(call: "Call") -> dict[str, str]:
    """The caller's trace headers. Two lines of `traceparent` are as good as none (W3C Trace Context §4.3)."""
    carrier: dict[str, str] = {}
    for name, value in call.headers:
        if name in TRACE_HEADERS:
            key, text = name.decode(), value.decode("latin-1")
            carrier[key] = f"{carrier[key]},{text}" if key in carrier else text
    return carrier


def _console() -> SpanExporter:
    return ConsoleSpanExporter(formatter=lambda span: span.to_json(indent=None) + "\n")


def _otlp() -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - needs its own library
        OTLPSpanExporter,
    )

    return OTLPSpanExporter()
