"""What a running gateway's metrics learn from what passes by."""

from datetime import datetime

import pytest

from tests.conftest import Relay
from tests.support.gateway import Gateway
from tests.support.recorder import answer

MODEL = "claude-sonnet-4-5"
MESSAGE = {"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize(
    "target",
    ["/v1/models?limit=1000", "/api/v1/models?limit=1000", f"/v1/models/{MODEL}", f"/api/v1/models/{MODEL}"],
)
def test_when_a_model_retires(sandboxed: Gateway, target: str) -> None:
    assert sandboxed.call("GET", target).status == 200
    date = sandboxed.call("GET", f"/v1/models/{MODEL}").json()["retires_at"]

    told = sandboxed.metrics("anthropic_gateway_model_retires_timestamp_seconds", model=MODEL)
    assert told == datetime.fromisoformat(date).timestamp()


def test_anthropics_limits(relay: Relay) -> None:
    limits = [("anthropic-ratelimit-requests-limit", "50"), ("anthropic-ratelimit-requests-remaining", "49")]
    refused = [("anthropic-ratelimit-requests-remaining", "0"), ("retry-after", "7")]
    relay.upstream.script(answer(200, b"{}", limits), answer(429, b"{}", refused), answer(429, b"{}"))
    spent = "anthropic_gateway_upstream_spend_limit_refused_total"
    before = relay.gateway.metrics(spent)
    labels = {"kind": "requests", "model_class": "sonnet"}

    relay.gateway.call("POST", "/v1/messages", MESSAGE)
    assert relay.gateway.metrics("anthropic_gateway_ratelimit_limit", **labels) == 50
    assert relay.gateway.metrics("anthropic_gateway_ratelimit_remaining", **labels) == 49
    relay.gateway.call("POST", "/v1/messages", MESSAGE)
    assert relay.gateway.metrics("anthropic_gateway_ratelimit_remaining", **labels) == 0
    assert relay.gateway.metrics(spent) == before
    relay.gateway.call("POST", "/v1/messages", MESSAGE)
    assert relay.gateway.metrics(spent) == before + 1


def test_health_makes_no_series(relay: Relay) -> None:
    def series() -> set[str]:
        lines = relay.gateway.call("GET", "/metrics").body.decode().splitlines()
        return {line.rpartition(" ")[0] for line in lines if line[0] != "#"}

    before = series()
    for path in ("/health", "/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json"):
        relay.gateway.call("GET", path)

    assert series() == before
