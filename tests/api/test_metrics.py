"""What a running gateway's metrics learn from what passes by."""

from datetime import datetime

import pytest

from tests.conftest import Relay
from tests.support.gateway import Gateway
from tests.support.recorder import answer, stream
from tests.support.transcripts import SHORT, event, events

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


@pytest.mark.parametrize("target", ["/v1/messages", "/api/v1/messages/stream"])
def test_how_long_a_stream_took_and_who_took_it(relay: Relay, target: str) -> None:
    """The wait for its first event is upstream's, not the gateway's own."""
    wait, pause = 1.5, 0.2
    body = MESSAGE | ({"stream": True} if target == "/v1/messages" else {})
    timings = ("upstream_duration_seconds", "overhead_seconds", "inter_chunk_seconds")

    def sums() -> dict[str, float]:
        return {name: relay.gateway.metrics(f"anthropic_gateway_{name}_sum") for name in timings}

    before = sums()
    relay.upstream.script([wait, *stream(event(SHORT[0]), pause, events(SHORT[1:]))])
    got = relay.gateway.call("POST", target, body)
    relay.gateway.request_line(got.header("x-request-id"))
    upstream, own, between = (after - before[name] for name, after in sums().items())
    assert upstream > wait
    assert own < wait / 2
    assert pause / 2 < between


def test_health_makes_no_series(relay: Relay) -> None:
    def series() -> set[str]:
        lines = relay.gateway.call("GET", "/metrics").body.decode().splitlines()
        return {line.rpartition(" ")[0] for line in lines if line[0] != "#"}

    before = series()
    for path in ("/health", "/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json"):
        relay.gateway.call("GET", path)

    assert series() == before
