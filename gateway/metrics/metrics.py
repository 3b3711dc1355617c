"""Counts what calls do. Everything here runs on the event loop, and at the end of each call."""

from pathlib import Path
from typing import NamedTuple

from gateway.call import Call
from gateway.headers import may_come_again
from gateway.ledger.tally import Line
from gateway.metrics import names
from gateway.metrics.instruments import (
    Count,
    Counter,
    Description,
    Distribution,
    Histogram,
    Instrument,
    Values,
)
from gateway.metrics.labels import NONE, OTHER, CappedLabels, method_label, outcome_label
from gateway.metrics.model_lifecycle import ModelLifecycle
from gateway.metrics.upstream_limits import UpstreamLimits
from gateway.usage import Sampling

MAX_KEYS = 100
"""Key names that get a label value of their own."""

MAX_MODELS = 50
"""Likewise of models: a caller may put any date after a name that is known."""

REASONS = (
    "auth", "permission", "not_found", "invalid", "size", "conflict", "budget",
    "rpm", "itpm", "otpm", "concurrency", "unavailable", "overload", "slow",
)  # fmt: skip
"""What `GatewayError.reason` may be."""

SIDES = ("client", "upstream", "shutdown")
PHASES = ("before_first_byte", "mid")

_TELLS_LIMITS = frozenset({200, 429})
"""Statuses of answers that carry Anthropic's limits."""

_CHAT = ("chat", "anthropic")
"""`gen_ai.operation.name` and `gen_ai.provider.name`."""


class _Timings(NamedTuple):
    """Where the times of an operation and a model are counted: looking each up takes longer than counting."""

    upstream: Distribution
    overhead: Distribution
    first_token: Distribution
    inter_chunk: Distribution
    otel: Distribution
    otel_first_token: Distribution


class _Bill(NamedTuple):
    """Where the tokens and the cost of a model and a key are counted."""

    input: Count
    output: Count
    cache_read: Count
    cache_write_5m: Count
    cache_write_1h: Count
    exact: Count
    estimated: Count
    otel_input: Distribution
    otel_output: Distribution

    def add(self, total: Sampling) -> None:
        """Count tokens."""
        self.input.value += total.input_tokens
        self.output.value += total.output_tokens
        self.cache_read.value += total.cache_read_tokens
        self.cache_write_5m.value += total.cache_write_5m_tokens
        self.cache_write_1h.value += total.cache_write_1h_tokens


class Metrics:
    """The counts of one process.

    Args:
        shared: a folder in which several workers agree on labels; None for one process.

    Attributes:
        upstream_limits: Anthropic's limits as its answers tell them.
        models: when models retire, likewise.
    """

    def __init__(self, shared: Path | None = None) -> None:
        self._instruments: list[Instrument] = []
        self._keys = CappedLabels(MAX_KEYS, shared and shared / "keys")
        self._models = CappedLabels(MAX_MODELS, shared and shared / "models")
        self.upstream_limits = UpstreamLimits()
        self.models = ModelLifecycle()
        self._requests = self._counter(names.REQUESTS)
        self._durations = self._histogram(names.DURATION)
        self._upstream = self._counter(names.UPSTREAM)
        self._upstream_durations = self._histogram(names.UPSTREAM_DURATION)
        self._first_token = self._histogram(names.FIRST_TOKEN)
        self._inter_chunk = self._histogram(names.INTER_CHUNK)
        self._overhead = self._histogram(names.OVERHEAD)
        self._tokens = self._counter(names.TOKENS)
        self._cost = self._counter(names.COST)
        self._unknown_model = self._counter(names.UNKNOWN_MODEL)
        self._rejections = self._counter(names.REJECTIONS)
        self._queue_wait = self._histogram(names.QUEUE_WAIT)
        self._aborts = self._counter(names.ABORTS)
        self._retries = self._counter(names.RETRIES)
        self._violations = self._counter(names.VIOLATIONS)
        self._credential = self._counter(names.CREDENTIAL)
        self._spend_limit = self._counter(names.SPEND_LIMIT)
        self._unlisted = self._counter(names.UNLISTED)
        self._otel_tokens = self._histogram(names.OTEL_TOKENS)
        self._otel_duration = self._histogram(names.OTEL_DURATION)
        self._otel_first_token = self._histogram(names.OTEL_FIRST_TOKEN)
        self._timings: dict[tuple[str, str], _Timings] = {}
        self._bills: dict[tuple[str, str], _Bill] = {}
        self._begin_at_zero()

    @property
    def descriptions(self) -> list[Description]:
        """All that is counted here."""
        return [instrument.description for instrument in self._instruments]

    def values(self) -> dict[str, Values]:
        """The counts, by the metric's name."""
        return {instrument.description.name: instrument.values for instrument in self._instruments}

    def record(self, call: Call, model: str) -> None:
        """Count a request that is over.

        Args:
            call: the request.
            model: its model's name where the price table knows it, else `other`.
        """
        operation = call.operation
        if operation is not None and operation.tag == "system":
            return
        name = NONE if operation is None else operation.id
        elapsed = call.elapsed
        self._requests.labels(name, method_label(call.method), str(call.status)).add(1)
        self._durations.labels(name).observe(elapsed)
        if call.entry is None:
            model = NONE
        else:
            model = self._models(model)
            self._record_usage(call, model)
        if call.asked_at is not None:
            self._record_upstream(call, name, model, elapsed)

    def booked(self, key: str, model: str, line: Line) -> None:
        """Count what a batch cost.

        Args:
            key: the name of the key that made it.
            model: one of its models, or `other`.
            line: the results of that model.
        """
        key, model = self._keys(key), self._models(model)
        self._bill(model, key).add(line.total)
        quality = "estimated" if line.estimated else "exact"
        self._cost.labels(model, "batch", key, quality).add(line.cost)
        if not line.priced:
            self._unknown_model.labels().add(line.requests)

    def rejected(self, reason: str, key: str | None) -> None:
        """Count a refusal by its reason (`GatewayError.reason`) and the key's name, where one was shown."""
        self._rejections.labels(reason, NONE if key is None else self._keys(key)).add(1)

    def queued(self, seconds: float) -> None:
        """Count how long a call stood in line for one of its key's places."""
        self._queue_wait.labels().observe(seconds)

    def stream_aborted(self, side: str, phase: str) -> None:
        """Count a stream that did not reach its last event.

        Args:
            side: who broke it off: client, upstream or shutdown.
            phase: before_first_byte or mid.
        """
        self._aborts.labels(side, phase).add(1)

    def retried(self, reason: str) -> None:
        """Count an upstream attempt that is tried again, by the status, or what else, it met."""
        self._retries.labels(reason).add(1)

    def violated(self, operation: str, side: str) -> None:
        """Count a request or a response that breaks the spec but passes on."""
        self._violations.labels(operation, side).add(1)

    def upstream_credential_refused(self) -> None:
        """Count upstream's refusal of the gateway's own credential."""
        self._credential.labels().add(1)

    def unlisted(self) -> None:
        """Count a relayed request to a path that the spec lacks."""
        self._unlisted.labels().add(1)

    def key_label(self, name: str) -> str:
        """A key's name as a label."""
        return self._keys(name)

    def _record_upstream(self, call: Call, name: str, model: str, elapsed: float) -> None:
        """Count what Anthropic did for a call, and how long it took."""
        assert call.asked_at is not None
        timings = self._timings.get((name, model)) or self._time(name, model)
        outcome = outcome_label(call)
        self._upstream.labels(name, model, outcome, "true" if call.streamed else "false").add(1)
        upstream_seconds = (call.ended_at or call.started + elapsed) - call.asked_at
        timings.upstream.observe(upstream_seconds)
        if call.entry is None:
            return
        if outcome == "ok":
            timings.otel.observe(elapsed)
        else:
            self._otel_duration.labels(*_CHAT, model, outcome).observe(elapsed)
        if call.answered_at is None:
            if (call.disconnected or call.stopped) and wants_stream(call):
                self.stream_aborted("client" if call.disconnected else "shutdown", "before_first_byte")
            return
        if call.upstream_status in _TELLS_LIMITS and call.answer is not None:
            self.upstream_limits.note(model, call.answer.headers)
            if call.upstream_status == 429 and not may_come_again(call.answer.headers):
                self._spend_limit.labels().add(1)
        waited = 0.0 if call.admission is None else call.admission.waited or 0.0
        if not call.streamed:
            timings.overhead.observe(elapsed - waited - upstream_seconds)
        elif call.first_byte is not None:
            timings.overhead.observe(call.first_byte - waited - (call.answered_at - call.asked_at))
            timings.first_token.observe(call.first_byte)
            timings.otel_first_token.observe(call.first_byte)
            if call.pace is not None:
                timings.inter_chunk.add(call.pace.counts, call.pace.seconds)

    def _record_usage(self, call: Call, model: str) -> None:
        """Count what a call is billed for."""
        usage = call.usage
        if usage is None or not usage.samplings:
            return
        key = NONE if call.key is None else self._keys(call.key.name)
        bill = self._bills.get((model, key)) or self._bill(model, key)
        total = usage.total
        bill.add(total)
        bill.otel_input.observe(total.prompt_tokens)
        bill.otel_output.observe(total.output_tokens)
        (bill.estimated if usage.estimated else bill.exact).add(call.cost_nanodollars or 0)
        if model == OTHER:
            self._unknown_model.labels().add(1)

    def _time(self, name: str, model: str) -> "_Timings":
        timings = self._timings[name, model] = _Timings(
            self._upstream_durations.labels(name, model),
            self._overhead.labels(name, model),
            self._first_token.labels(name, model),
            self._inter_chunk.labels(name, model),
            self._otel_duration.labels(*_CHAT, model, ""),
            self._otel_first_token.labels(*_CHAT, model),
        )
        return timings

    def _bill(self, model: str, key: str) -> "_Bill":
        bill = self._bills[model, key] = _Bill(
            input=self._tokens.labels(model, "input", key),
            output=self._tokens.labels(model, "output", key),
            cache_read=self._tokens.labels(model, "cache_read", key),
            cache_write_5m=self._tokens.labels(model, "cache_write_5m", key),
            cache_write_1h=self._tokens.labels(model, "cache_write_1h", key),
            exact=self._cost.labels(model, "message", key, "exact"),
            estimated=self._cost.labels(model, "message", key, "estimated"),
            otel_input=self._otel_tokens.labels(*_CHAT, "input", model),
            otel_output=self._otel_tokens.labels(*_CHAT, "output", model),
        )
        return bill

    def _begin_at_zero(self) -> None:
        """Show at once what is alerted on."""
        for reason in REASONS:
            self._rejections.begin(reason, NONE)
        for side in SIDES:
            for phase in PHASES:
                self._aborts.begin(side, phase)
        for counter in (self._unknown_model, self._credential, self._spend_limit, self._unlisted):
            counter.begin()

    def _counter(self, description: Description) -> Counter:
        counter = Counter(description)
        self._instruments.append(counter)
        return counter

    def _histogram(self, description: Description) -> Histogram:
        histogram = Histogram(description)
        self._instruments.append(histogram)
        return histogram


def wants_stream(call: Call) -> bool:
    """Whether a message was asked for as a stream."""
    assert call.operation is not None
    if call.dialect == "envelope":
        return call.operation.stream == "sse"
    return call.payload.get("stream") is True
