"""Budgets over a real socket: how far they can be passed, whom they block, how a refusal looks."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.conftest import Relay
from tests.support.client import Client
from tests.support.gateway import SOON, Gateway, eventually
from tests.support.keys import new_key
from tests.support.messages import MODEL, message
from tests.support.recorder import Gate, Received, answer, stream
from tests.support.transcripts import FULL, events

"""$3 a million input tokens, $15 a million output tokens."""

CENT_OF_ANSWER = 667
"""Output tokens that cost a cent."""

QUESTION: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}


def usage(app: Client) -> dict[str, Any]:
    got: dict[str, Any] = app.call("GET", "/api/v1/usage").json()["data"]["total"]
    return got


def budget_metric(gateway: Gateway, name: str, key: str) -> float:
    return gateway.metric(f'anthropic_gateway_budget_{name}_dollars{{key="{key}",window="day"}}')


def call(app: Client, max_tokens: int, dialect: str = "native") -> int:
    target = "/v1/messages" if dialect == "native" else "/api/v1/messages/create"
    return app.call("POST", target, {**QUESTION, "max_tokens": max_tokens}).status


def test_two_hundred_calls_at_once_pass_a_dollar_by_less_than_one_call(relay: Relay) -> None:
    name = "one dollar"
    _, app = new_key(relay.gateway, name, usd_per_day=1)
    relay.upstream.reply = lambda _: message(5 * CENT_OF_ANSWER, wait=0.02)
    one_call = Decimal(10 * 3 + 5 * CENT_OF_ANSWER * 15) / 1_000_000

    with ThreadPoolExecutor(200) as pool:
        statuses = list(pool.map(lambda _: call(app, 5 * CENT_OF_ANSWER), range(200)))

    assert set(statuses) <= {200, 402}
    total = usage(app)
    assert statuses.count(200) == total["requests"] == len(relay.upstream.requests)
    spent = Decimal(total["cost_usd"])
    assert spent == one_call * statuses.count(200)
    assert Decimal(1) <= spent < 1 + one_call
    assert budget_metric(relay.gateway, "limit", name) == 1
    assert budget_metric(relay.gateway, "spent", name) == float(spent)
    assert budget_metric(relay.gateway, "reserved", name) == 0


def test_twenty_agents_with_a_large_max_tokens_are_not_blocked(relay: Relay) -> None:
    # Twenty times 64,000 tokens are $19.20; each really costs a cent.
    _, app = new_key(relay.gateway, "agents", usd_per_day=5)
    relay.upstream.reply = lambda _: message(CENT_OF_ANSWER)
    for _ in range(5):
        assert call(app, 64_000) == 200
    gate = Gate()
    relay.upstream.reset()
    relay.upstream.reply = lambda _: [gate, *message(CENT_OF_ANSWER)]

    with ThreadPoolExecutor(20) as pool:
        calls = [pool.submit(call, app, 64_000) for _ in range(20)]
        relay.upstream.wait_for(20)  # all of them are with upstream at the same time
        gate.open()
        assert [done.result() for done in calls] == [200] * 20


def test_before_anything_is_known_they_run_one_after_the_other(relay: Relay) -> None:
    _, app = new_key(relay.gateway, "first agents", usd_per_day=0.5)
    model = "claude-3-7-sonnet-20250219"  # of which no test has taught anything yet

    def reply(request: Received) -> Sequence[Any]:
        return message(10, wait=0.01)

    relay.upstream.reply = reply
    body = {**QUESTION, "model": model, "max_tokens": 64_000}
    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(lambda _: app.call("POST", "/v1/messages", body).status, range(20)))

    assert statuses == [200] * 20


@pytest.fixture(scope="module")
def used_up(_relay: Relay) -> Client:
    """A key that has spent all it may in a month."""
    _relay.upstream.reset()
    _relay.upstream.reply = lambda _: message(CENT_OF_ANSWER)
    _, app = new_key(_relay.gateway, "used up", usd_per_month=0.01, usd_per_day=100)
    assert call(app, CENT_OF_ANSWER) == 200
    return app


def test_the_refusal_in_the_envelope(relay: Relay, used_up: Client) -> None:
    got = used_up.call("POST", "/api/v1/messages/create", QUESTION)

    assert got.status == 402
    told = got.json()
    assert told["success"] is False
    assert told["metadata"]["error_type"] == "PaymentRequiredError"
    month = datetime.now(UTC).date().replace(day=1) + timedelta(days=32)
    assert "the budget of $0.01 a month is used up ($0.010" in told["error"]
    assert f"resets at {month.replace(day=1)}T00:00:00+00:00 (UTC)" in told["error"]
    assert relay.upstream.requests == []


def test_the_refusal_in_the_native_dialect(used_up: Client) -> None:
    got = used_up.call("POST", "/v1/messages", {**QUESTION, "max_tokens": 5, "stream": True})

    assert got.status == 402
    assert got.json()["type"] == "error"
    assert got.json()["error"]["type"] == "billing_error"
    assert "used up" in got.json()["error"]["message"]


def test_what_costs_nothing_is_not_refused(relay: Relay, used_up: Client) -> None:
    assert used_up.call("POST", "/v1/messages/count_tokens", QUESTION).status == 200
    assert used_up.call("GET", "/v1/models").status == 200
    assert used_up.call("GET", "/api/v1/usage").status == 200


@pytest.mark.parametrize("dialect", ["/v1/messages", "/api/v1/messages/create"])
@pytest.mark.parametrize("most", [10**15, 10**18, 10**23])
def test_more_tokens_than_any_model_has_are_upstreams_to_refuse(
    relay: Relay, dialect: str, most: int
) -> None:
    _, app = new_key(relay.gateway, f"most {dialect} {most}", usd_per_day=100)
    relay.upstream.reply = lambda _: message(1)

    assert app.call("POST", dialect, {**QUESTION, "max_tokens": most}).status == 200


def test_a_raised_budget_lets_calls_through_again(relay: Relay) -> None:
    relay.upstream.reply = lambda _: message(CENT_OF_ANSWER)
    key_id, app = new_key(relay.gateway, "raised", usd_per_day=0.01)
    assert (call(app, 10), call(app, 10)) == (200, 402)

    relay.gateway.call("PATCH", f"/api/v1/keys/{key_id}", {"budget": {"usd_per_day": 0.02}})

    assert (call(app, 10, "envelope"), call(app, 10, "envelope")) == (200, 402)


@pytest.mark.parametrize("dialect", ["/v1/messages", "/api/v1/messages/stream"])
def test_a_stream_is_settled_when_it_ends(relay: Relay, dialect: str) -> None:
    name = f"stream {dialect.count('/')}"
    _, app = new_key(relay.gateway, name, usd_per_day=1)
    relay.upstream.script(stream(events(FULL)))
    body = {**QUESTION, "max_tokens": 100} | ({"stream": True} if dialect == "/v1/messages" else {})

    assert app.call("POST", dialect, body).status == 200

    total = usage(app)
    # 25 input, 7 read from the cache, 3 written to it, 89 output.
    assert Decimal(total["cost_usd"]) == Decimal(25 * 3_000 + 7 * 300 + 3 * 3_750 + 89 * 15_000) / 10**9
    assert total["estimated_requests"] == 0
    assert budget_metric(relay.gateway, "reserved", name) == 0


def test_a_stream_that_its_caller_leaves_is_settled_at_what_was_seen(relay: Relay) -> None:
    _, app = new_key(relay.gateway, "left stream", usd_per_day=1)
    start, first = stream(events(FULL[:4]))[:2]
    relay.upstream.script([start, first, 20.0])

    with app.open("POST", "/v1/messages", {**QUESTION, "max_tokens": 4000, "stream": True}) as got:
        got.until(b"message_start")

    def settled() -> dict[str, Any] | None:
        total = usage(app)
        return total if total["estimated_requests"] else None

    total = eventually(settled, SOON)
    assert total["requests"] == 1
    assert (total["input_tokens"], total["cache_read_input_tokens"]) == (25, 7)
    assert Decimal(0) < Decimal(total["cost_usd"]) < Decimal("0.001")
    assert budget_metric(relay.gateway, "reserved", "left stream") == 0


@pytest.mark.parametrize("status", [400, 429, 500, 529])
def test_what_upstream_refuses_costs_nothing(relay: Relay, status: int) -> None:
    _, app = new_key(relay.gateway, f"refused {status}", usd_per_day=1)
    relay.upstream.script(answer(status, b'{"type":"error","error":{"type":"x","message":"no"}}'))

    assert call(app, 1000) == status

    total = usage(app)
    assert (total["requests"], total["cost_usd"]) == (1, "0")
    assert budget_metric(relay.gateway, "reserved", f"refused {status}") == 0
