"""How many series the metrics have: every label comes from a closed set."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway import errors
from gateway.call import Call
from gateway.keys import Key
from gateway.ledger.tally import Line
from gateway.metrics import MAX_KEYS, REASONS, Metrics
from gateway.services import Services
from gateway.settings import Settings
from gateway.usage import Sampling, Usage

MODELS = ("claude-sonnet-5", "claude-haiku-4-5")
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


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    settings = Settings(upstream="sandbox", data_dir=tmp_path, config_dir=tmp_path, default_usd_per_day="5")  # type: ignore[arg-type]
    made = Services(settings, "http://127.0.0.1:9")
    yield made
    await made.ledger.close()
    await made.store.close()


def call(services: Services, key: Key, operation: str, model: str) -> Call:
    scope = {
        "type": "http",
        "method": "POST",
        "raw_path": b"/v1/messages",
        "query_string": b"",
        "headers": [],
        "scheme": "http",
    }
    made = Call(services, scope, None)  # type: ignore[arg-type]
    made.key, made.status, made.model, made.first_byte = key, 200, model, 0.1
    made.operation = services.catalog[operation]
    return made


async def test_fifty_keys_make_no_more_than_two_thousand_series(services: Services) -> None:
    usage = Usage(MODELS[0], (Sampling(MODELS[0], 10, 10, 10, 10, 0),))
    for number in range(KEYS):
        key, _ = await services.keys.create({"name": f"key {number}"})
        for operation in OPERATIONS:
            for model in MODELS if services.catalog[operation].metered else ("",):
                done = call(services, key, operation, model)
                if model:
                    done.entry = await services.ledger.begin(key, "req", operation, model)
                    done.usage, done.cost_nanodollars = usage, 1000
                services.metrics.record(done, model or "other")
    await services.readings.refresh()

    lines = services.metrics.render().decode().splitlines()

    series = [line for line in lines if not line.startswith("#")]
    assert 1000 < len(series) <= MOST_SERIES


def test_keys_after_the_first_hundred_share_a_label() -> None:
    metrics = Metrics()
    labels = {metrics.key_label(f"key {number}") for number in range(MAX_KEYS * 2)}

    assert len(labels) == MAX_KEYS + 1
    assert "other" in labels
    assert metrics.key_label("key 1") == "key 1"


def test_a_batch_is_counted_like_calls() -> None:
    metrics = Metrics()
    metrics.booked(
        "app", "other", Line(Sampling("x", 5, 7), {}, requests=3, cost=2_000_000_000, priced=False)
    )

    text = metrics.render().decode()
    assert 'anthropic_gateway_tokens_total{key="app",model="other",type="output"} 7.0' in text
    assert 'anthropic_gateway_cost_dollars_total{key="app",model="other",quality="exact"} 2.0' in text
    assert "anthropic_gateway_pricing_unknown_model_total 3.0" in text


def test_every_refusal_has_a_reason_that_is_shown_from_the_start() -> None:
    reasons: set[str] = set()
    waiting = [errors.GatewayError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.reason is not None:
            reasons.add(kind.reason)

    assert reasons <= set(REASONS)
    assert {"rpm", "itpm", "otpm", "concurrency"} <= set(REASONS)  # those of RateLimited differ by limit
    text = Metrics().render().decode()
    assert all(f'anthropic_gateway_rejections_total{{reason="{reason}"}} 0.0' in text for reason in REASONS)
