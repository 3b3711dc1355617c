"""What a call counts, and how many series that makes: every label comes from a closed set."""

import errno
from pathlib import Path

import pytest

from gateway import errors
from gateway.ledger.tally import Line
from gateway.limits import Admission
from gateway.metrics import Metrics
from gateway.metrics.metrics import MAX_KEYS, MAX_MODELS, REASONS
from gateway.metrics.stream_pace import StreamPace
from gateway.services import Services
from gateway.usage import Sampling, Usage
from tests.unit.metrics.conftest import LIMITS, MODEL, MakeCall, answer
from tests.unit.metrics.samples import Samples, samples

MODELS = (MODEL, "claude-haiku-4-5")
OPERATIONS = (
    "messages_create",
    "create_message",
    "stream_message",
    "messages_count_tokens",
    "models_list",
    "messages_batches_create",
    "messages_batches_retrieve",
    "messages_batches_results",
)
KEYS = 50
MOST_SERIES = 2000
CALL = {"operation": "messages_create", "model": MODEL}
CHAT = {
    "gen_ai_operation_name": "chat",
    "gen_ai_provider_name": "anthropic",
    "gen_ai_request_model": MODEL,
}


async def shown(services: Services) -> Samples:
    return samples(await services.scrape.text())


async def test_fifty_keys_make_no_more_than_two_thousand_series(services: Services, over: MakeCall) -> None:
    for number in range(KEYS):
        key, _ = await services.keys.create({"name": f"key {number}"})
        for operation in OPERATIONS:
            for model in MODELS:
                streamed = operation == "stream_message"
                usage = Usage(model, (Sampling(model, 10, 10, 10, 10),))
                call = over(operation, key=key, model=model, usage=usage, streamed=streamed)
                call.pace = StreamPace()
                services.metrics.record(call, model)
        services.metrics.rejected("rpm", key.name)
    for status in (400, 404, 429, 500, 529):
        services.metrics.record(over(status=status), MODEL)

    lines = (await services.scrape.text()).decode().splitlines()

    assert 1000 < sum(not line.startswith("#") for line in lines) <= MOST_SERIES


async def test_the_gateways_own_operations_make_no_series(services: Services, over: MakeCall) -> None:
    before = (await shown(services)).keys()

    for operation in ("get_health", "get_liveness", "get_readiness", "get_metrics", "get_docs"):
        services.metrics.record(over(operation), "other")

    assert (await shown(services)).keys() == before


async def test_a_message(services: Services, over: MakeCall) -> None:
    services.metrics.record(over(), MODEL)

    found = await shown(services)
    request = {"operation": "messages_create", "method": "POST", "code": "200"}
    assert found.of("anthropic_gateway_http_requests_total", **request) == 1
    outcome = CALL | {"outcome": "ok", "stream": "false"}
    assert found.of("anthropic_gateway_upstream_requests_total", **outcome) == 1
    assert found.of("anthropic_gateway_upstream_duration_seconds_sum", **CALL) == pytest.approx(0.15)
    overhead = found.of("anthropic_gateway_overhead_seconds_sum", **CALL)
    assert 0.05 <= overhead < 0.05 + 60
    for kind, count in (
        ("input", 10), ("output", 20), ("cache_read", 30), ("cache_write_5m", 40), ("cache_write_1h", 50),
    ):  # fmt: skip
        assert found.of("anthropic_gateway_tokens_total", model=MODEL, key="admin", type=kind) == count
    cost = {"model": MODEL, "key": "admin", "kind": "message", "quality": "exact"}
    assert found.of("anthropic_gateway_cost_dollars_total", **cost) == 1e-6
    for kind, count in (("input", 130), ("output", 20)):
        tokens = found.of("gen_ai_client_token_usage_sum", **CHAT, gen_ai_token_type=kind)
        assert tokens == count
    duration = found.of("gen_ai_client_operation_duration_seconds_count", **CHAT, error_type="")
    assert duration == 1
    assert "anthropic_gateway_time_to_first_token_seconds_count" not in found.names


async def test_a_stream(services: Services, over: MakeCall) -> None:
    pace = StreamPace()
    for _ in range(4):
        pace.tick()
    services.metrics.record(over(streamed=True, pace=pace), MODEL)

    found = await shown(services)
    assert found.of("anthropic_gateway_time_to_first_token_seconds_sum", **CALL) == 0.12
    assert found.of("gen_ai_server_time_to_first_token_seconds_sum", **CHAT) == 0.12
    assert found.of("anthropic_gateway_inter_chunk_seconds_count", **CALL) == 3
    assert found.of("anthropic_gateway_inter_chunk_seconds_sum", **CALL) == pace.seconds
    assert found.of("anthropic_gateway_overhead_seconds_sum", **CALL) == pytest.approx(0.02)


async def test_waiting_in_line_is_no_overhead(services: Services, over: MakeCall) -> None:
    call = over(streamed=True)
    assert call.key is not None
    call.admission = Admission(call.key, waited=0.015)
    services.metrics.record(call, MODEL)

    overhead = (await shown(services)).of("anthropic_gateway_overhead_seconds_sum", **CALL)
    assert overhead == pytest.approx(0.005)


async def test_an_operation_without_a_model(services: Services, over: MakeCall) -> None:
    services.metrics.record(over("models_list"), "other")

    found = await shown(services)
    labels = {"operation": "models_list", "model": "none"}
    assert found.of("anthropic_gateway_upstream_requests_total", **labels, outcome="ok", stream="false") == 1
    assert found.of("anthropic_gateway_upstream_duration_seconds_count", **labels) == 1
    assert "anthropic_gateway_overhead_seconds_count" not in found.names


async def test_a_request_that_never_went_up(services: Services, over: MakeCall) -> None:
    call = over(asked_at=None, answered_at=None, ended_at=None, entry=None, usage=None, status=401)
    services.metrics.record(call, "other")

    found = await shown(services)
    request = {"operation": "messages_create", "method": "POST", "code": "401"}
    assert found.of("anthropic_gateway_http_requests_total", **request) == 1
    assert "anthropic_gateway_upstream_requests_total" not in found.names


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"disconnected": True, "status": 499}, "cancelled"),
        ({"stream_error": "overloaded_error"}, "overloaded_error"),
        ({"stream_error": "an error of tomorrow"}, "other"),
        ({"status": 529}, "529"),
    ],
)
async def test_outcomes(services: Services, over: MakeCall, fields: dict[str, object], outcome: str) -> None:
    services.metrics.record(over(**fields), MODEL)

    found = await shown(services)
    counted = found.of("anthropic_gateway_upstream_requests_total", **CALL, outcome=outcome, stream="false")
    assert counted == 1
    assert found.of("gen_ai_client_operation_duration_seconds_count", **CHAT, error_type=outcome) == 1


@pytest.mark.parametrize(
    ("operation", "payload", "fields", "side"),
    [
        ("messages_create", {"stream": True}, {"disconnected": True}, "client"),
        ("messages_create", {"stream": True}, {"stopped": True}, "shutdown"),
        ("stream_message", {}, {"disconnected": True}, "client"),
        ("messages_create", {}, {"disconnected": True}, None),
        ("create_message", {}, {"stopped": True}, None),
    ],
)
async def test_streams_that_end_before_they_begin(
    services: Services,
    over: MakeCall,
    operation: str,
    payload: dict[str, object],
    fields: dict[str, object],
    side: str | None,
) -> None:
    call = over(operation, payload=payload, answered_at=None, ended_at=None, **fields)
    call.dialect = services.catalog[operation].dialect
    services.metrics.record(call, MODEL)

    found = await shown(services)
    for each in ("client", "upstream", "shutdown"):
        aborts = found.of("anthropic_gateway_stream_aborts_total", side=each, phase="before_first_byte")
        assert aborts == (each == side)


@pytest.mark.parametrize(("headers", "counted"), [([], 1), ([(b"retry-after", b"3")], 0)])
async def test_a_429_without_retry_after_is_a_spend_limit(
    services: Services, over: MakeCall, headers: list[tuple[bytes, bytes]], counted: int
) -> None:
    refused = answer(429, [*LIMITS, *headers])
    services.metrics.record(over(status=429, upstream_status=429, answer=refused), MODEL)

    assert (await shown(services)).of("anthropic_gateway_upstream_spend_limit_refused_total") == counted


async def test_upstreams_limits(services: Services, over: MakeCall) -> None:
    services.metrics.record(over(), MODEL)
    failed = answer(500, [(b"anthropic-ratelimit-requests-limit", b"1")])
    services.metrics.record(over(status=500, upstream_status=500, answer=failed), MODEL)

    found = await shown(services)
    labels = {"kind": "input_tokens", "model_class": "sonnet"}
    assert found.of("anthropic_gateway_ratelimit_limit", **labels) == 2_000_000
    assert found.of("anthropic_gateway_ratelimit_remaining", **labels) == 1_000_000
    assert found.of("anthropic_gateway_ratelimit_reset_timestamp_seconds", **labels) == 1795348830
    assert found.of("anthropic_gateway_ratelimit_limit", kind="requests", model_class="sonnet") == 4000


async def test_an_estimated_call_of_an_unknown_model(services: Services, over: MakeCall) -> None:
    usage = Usage("a model of tomorrow", (Sampling("a model of tomorrow", 1),), estimated=True)
    services.metrics.record(over(usage=usage), "other")

    found = await shown(services)
    cost = {"model": "other", "key": "admin", "kind": "message", "quality": "estimated"}
    assert found.of("anthropic_gateway_cost_dollars_total", **cost) == 1e-6
    assert found.of("anthropic_gateway_pricing_unknown_model_total") == 1


def test_keys_after_the_first_hundred_share_a_label() -> None:
    metrics = Metrics()
    labels = {metrics.key_label(f"key {number}") for number in range(MAX_KEYS * 2)}

    assert len(labels) == MAX_KEYS + 1
    assert "other" in labels
    assert metrics.key_label("key 1") == "key 1"


async def test_dates_put_after_a_model_make_no_series_without_end(services: Services, over: MakeCall) -> None:
    for number in range(MAX_MODELS * 2):
        services.metrics.record(over(), f"{MODEL}-{number:08}")

    found = await shown(services)
    models = {labels["model"] for labels in found.labels("anthropic_gateway_upstream_requests_total")}
    assert len(models) == MAX_MODELS + 1


async def test_a_batch_is_counted_like_calls(services: Services) -> None:
    line = Line(Sampling("x", 5, 7), {}, requests=3, cost=2_000_000_000, priced=False)
    services.metrics.booked("app", "other", line)

    found = await shown(services)
    assert found.of("anthropic_gateway_tokens_total", key="app", model="other", type="output") == 7
    cost = {"key": "app", "kind": "batch", "model": "other", "quality": "exact"}
    assert found.of("anthropic_gateway_cost_dollars_total", **cost) == 2
    assert found.of("anthropic_gateway_pricing_unknown_model_total") == 3


async def test_every_refusal_has_a_reason_that_is_shown_from_the_start(services: Services) -> None:
    reasons: set[str] = set()
    waiting = [errors.GatewayError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.reason is not None:
            reasons.add(kind.reason)

    assert reasons <= set(REASONS)
    assert {"rpm", "itpm", "otpm", "concurrency"} <= set(REASONS)  # those of RateLimited differ by limit
    found = await shown(services)
    for reason in REASONS:
        assert found.of("anthropic_gateway_rejections_total", reason=reason, key="none") == 0


async def test_a_folder_that_cannot_be_measured_hides_nothing_else(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (await shown(services)).names

    def fail(_: Path) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr("shutil.disk_usage", fail)

    names = {"data_dir_size_bytes", "data_dir_free_bytes", "db_size_bytes"}
    assert whole - (await shown(services)).names == {f"anthropic_gateway_{name}" for name in names}
