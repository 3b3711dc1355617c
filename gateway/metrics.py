"""Every metric of the gateway. Names, labels and buckets are an interface: docs/metrics.md lists them.

Labels come from closed sets: operationIds, statuses, models of the price table, key names up to a cap.
"""

import sys
from dataclasses import dataclass
from typing import Any, Literal

import anthropic
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from gateway import __version__
from gateway.call import Call
from gateway.errors import ERROR_STATUSES
from gateway.ledger.tally import Line
from gateway.prices import NANODOLLARS
from gateway.usage import Sampling

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
PREFIX = "anthropic_gateway_"
DURATION_BUCKETS = (
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 120, 300, 600,
)  # fmt: skip
FIRST_TOKEN_BUCKETS = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 60, 120)
QUEUE_BUCKETS = (0.001, 0.01, 0.1, 0.5, 1, 2.5, 5, 10, 20, 30)
TOKEN_BUCKETS = tuple(4**exponent for exponent in range(14))
"""OpenTelemetry's buckets for `gen_ai.client.token.usage`."""

MAX_KEYS = 100
"""Key names that get a label value of their own; those after them share `other`."""


OTHER = "other"
"""The label of models that the price table does not know, and of keys after the first MAX_KEYS."""

disable_created_metrics()  # type: ignore[no-untyped-call] # a third of all series, which nothing reads


@dataclass(frozen=True, slots=True)
class Description:
    """A metric as docs/metrics.md tells it; the name without PREFIX, as the library takes it."""

    name: str
    kind: Literal["counter", "gauge", "histogram", "summary"]
    text: str
    labels: tuple[str, ...] = ()


REASONS = (
    "auth", "permission", "not_found", "invalid", "size", "conflict", "budget",
    "rpm", "itpm", "otpm", "concurrency", "unavailable",
)  # fmt: skip
"""What `GatewayError.reason` may be; all are shown from the start: the first refusal is an increase then."""


class Metrics:
    """The registry and what is counted in it. One instance a process.

    Attributes:
        registry: Prometheus' own, for collectors of other parts.
        descriptions: all metrics that are counted here, by their whole names.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.descriptions: dict[str, Description] = {}
        self._children: dict[tuple[str, ...], Any] = {}
        self._keys: set[str] = set()
        self._build = self._gauge(
            "build_info", "Versions of this build; always 1.", "version", "python", "sdk"
        )
        python = ".".join(map(str, sys.version_info[:3]))
        self._build.labels(__version__, python, anthropic.__version__).set(1)
        self.ready = self._gauge("ready", "Whether the gateway takes new work.")
        self._requests = self._counter("http_requests", "Requests served.", "operation", "method", "code")
        self._durations = self._histogram(
            "http_request_duration_seconds",
            "Time to the last byte of the answer.",
            DURATION_BUCKETS,
            "operation",
        )
        self._upstream = self._counter(
            "upstream_requests",
            "Calls that cost tokens, by how they ended.",
            "operation",
            "model",
            "outcome",
            "stream",
        )
        self._first_token = self._histogram(
            "time_to_first_token_seconds",
            "Time to the first byte of a message.",
            FIRST_TOKEN_BUCKETS,
            "operation",
        )
        self._tokens = self._counter("tokens", "Tokens as Anthropic counts them.", "model", "type", "key")
        self._cost = self._counter("cost_dollars", "Cost of calls in US dollars.", "model", "key", "quality")
        self._unknown_model = self._counter(
            "pricing_unknown_model", "Calls priced at the dearest price, for the table lacks their model."
        )
        self._rejections = self._counter("rejections", "Requests that the gateway itself refused.", "reason")
        for reason in REASONS:
            self._child(self._rejections, reason)
        self._queue_wait = self._histogram(
            "queue_wait_seconds",
            "Time that calls stood in line for a place of their key, where its calls at a time are limited.",
            QUEUE_BUCKETS,
        )
        self._aborts = self._counter("stream_aborts", "Streams that ended before their last event.", "side")
        self._retries = self._counter("retries", "Upstream calls tried again, by the status met.", "reason")
        self._violations = self._counter(
            "contract_violations", "Requests or answers that break the spec.", "operation", "side"
        )
        self._credential = self._counter(
            "upstream_credential_refused", "Upstream's 401 for our own credential."
        )
        self._unlisted = self._counter("unlisted_requests", "Relayed requests to paths that the spec lacks.")
        self._otel_tokens = self._otel(
            "gen_ai_client_token_usage",
            "Tokens of a call.",
            TOKEN_BUCKETS,
            "gen_ai_token_type",
            "gen_ai_request_model",
        )
        self._otel_duration = self._otel(
            "gen_ai_client_operation_duration_seconds",
            "Duration of a call.",
            DURATION_BUCKETS,
            "gen_ai_request_model",
        )
        self._otel_first_token = self._otel(
            "gen_ai_server_time_to_first_token_seconds", "Time to the first token.", FIRST_TOKEN_BUCKETS,
            "gen_ai_request_model",
        )  # fmt: skip

    def render(self) -> bytes:
        """All metrics in Prometheus' text format 0.0.4."""
        return generate_latest(self.registry)

    def record(self, call: Call, model: str) -> None:
        """Count a request that is over.

        Args:
            call: the request.
            model: its model's name, or `other`.
        """
        operation = call.operation
        if operation is not None and operation.tag == "system":
            return
        name = operation.id if operation else "none"
        elapsed = call.elapsed
        self._child(self._requests, name, _method(call.method), str(call.status)).inc()
        self._child(self._durations, name).observe(elapsed)
        if call.entry is not None:
            self._record_tokens(call, name, model, elapsed)

    def booked(self, key: str, model: str, line: Line) -> None:
        """Count what a batch cost.

        Args:
            key: the name of the key that made it.
            model: one of its models, or `other`.
            line: the results of that model.
        """
        label = self.key_label(key)
        for kind, count in token_counts(line.total).items():
            if count:
                self._child(self._tokens, model, kind, label).inc(count)
        if line.cost:
            quality = "estimated" if line.estimated else "exact"
            self._child(self._cost, model, label, quality).inc(line.cost / NANODOLLARS)
        if not line.priced:
            self._unknown_model.inc(line.requests)

    def rejected(self, reason: str) -> None:
        """Count a refusal by its reason (`GatewayError.reason`)."""
        self._child(self._rejections, reason).inc()

    def queued(self, seconds: float) -> None:
        """Count how long a call stood in line for one of its key's places."""
        self._queue_wait.observe(seconds)

    def stream_aborted(self, side: str) -> None:
        """Count a stream that did not reach its last event; `side` is client, upstream or shutdown."""
        self._child(self._aborts, side).inc()

    def retried(self, reason: str) -> None:
        """Count an upstream attempt that is tried again, by the status that it met."""
        self._child(self._retries, reason).inc()

    def violated(self, operation: str, side: str) -> None:
        """Count a request or a response that breaks the spec but passes on."""
        self._child(self._violations, operation, side).inc()

    def upstream_credential_refused(self) -> None:
        """Count upstream's refusal of the gateway's own credential."""
        self._credential.inc()

    def unlisted(self) -> None:
        """Count a relayed request to a path that the spec lacks."""
        self._unlisted.inc()

    def _record_tokens(self, call: Call, name: str, model: str, elapsed: float) -> None:
        stream = "true" if call.streamed else "false"
        self._child(self._upstream, name, model, _outcome(call), stream).inc()
        self._child(self._otel_duration, model).observe(elapsed)
        if call.first_byte is not None and call.status < 400:
            self._child(self._first_token, name).observe(call.first_byte)
            self._child(self._otel_first_token, model).observe(call.first_byte)
        if not call.usage:
            return
        key = self.key_label(call.key.name) if call.key else "none"
        if model == OTHER and call.usage.samplings:
            self._unknown_model.inc()
        counts = token_counts(call.usage.total)
        for kind, count in counts.items():
            if count:
                self._child(self._tokens, model, kind, key).inc(count)
        self._child(self._otel_tokens, "input", model).observe(counts["input"])
        self._child(self._otel_tokens, "output", model).observe(counts["output"])
        if call.cost_nanodollars:
            quality = "estimated" if call.usage.estimated else "exact"
            self._child(self._cost, model, key, quality).inc(call.cost_nanodollars / NANODOLLARS)

    def key_label(self, name: str) -> str:
        """A key's name as a label: the first MAX_KEYS have one of their own."""
        if name not in self._keys:
            if len(self._keys) >= MAX_KEYS:
                return OTHER
            self._keys.add(name)
        return name

    def _child(self, metric: Any, *labels: str) -> Any:
        key = (metric._name, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        self.descriptions[PREFIX + name] = Description(name, "counter", text, labels)
        return Counter(PREFIX + name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        self.descriptions[PREFIX + name] = Description(name, "gauge", text, labels)
        return Gauge(PREFIX + name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        self.descriptions[PREFIX + name] = Description(name, "histogram", text, labels)
        return Histogram(PREFIX + name, text, labels, registry=self.registry, buckets=buckets)

    def _otel(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        self.descriptions[name] = Description(name, "histogram", text, labels)
        return Histogram(name, text, labels, registry=self.registry, buckets=buckets)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _method(method: str) -> str:
    return method if method in _METHODS else "other"


def _outcome(call: Call) -> str:
    if call.disconnected:
        return "cancelled"
    if call.stream_error is not None:
        return call.stream_error if call.stream_error in ERROR_STATUSES else OTHER
    return "ok" if call.status < 400 else str(call.status)


def token_counts(total: Sampling) -> dict[str, int]:
    """What a call is billed for as disjoint counts."""
    return {
        "input": total.input_tokens,
        "output": total.output_tokens,
        "cache_read": total.cache_read_tokens,
        "cache_write_5m": total.cache_write_5m_tokens,
        "cache_write_1h": total.cache_write_1h_tokens,
    }
