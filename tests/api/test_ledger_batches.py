"""Batches in the ledger: half price, once, to the key that made them, whoever reads the results and how."""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from tests.conftest import Relay
from tests.support.client import Client
from tests.support.keys import new_key
from tests.support.recorder import CLOSE, Received, answer, stream

MODEL = "claude-sonnet-4-20250514"
REQUESTS = 50
COST = Decimal(REQUESTS * (1000 * 3 + 100 * 15)) / 2 / 10**6


def lines() -> bytes:
    usage = {"input_tokens": 1000, "output_tokens": 100, "service_tier": "batch"}
    message = {"id": "msg_1", "model": MODEL, "stop_reason": "end_turn", "usage": usage, "content": []}
    results = [{"type": "succeeded", "message": message}] * REQUESTS + [{"type": "expired"}]
    return b"".join(
        json.dumps({"custom_id": f"r{number}", "result": result}).encode() + b"\n"
        for number, result in enumerate(results)
    )


class Batch:
    """One batch upstream that has ended."""

    def __init__(self, batch_id: str) -> None:
        self.id = batch_id
        self.asked: list[str] = []
        self.results: Sequence[Any] = [*stream(*_cut(lines(), 1000), kind="application/x-jsonl")]

    def reply(self, request: Received) -> Sequence[Any]:
        self.asked.append(f"{request.method} {request.target}")
        if request.target.endswith("/results"):
            return self.results
        if request.method == "DELETE":
            return answer(body=json.dumps({"id": self.id, "type": "message_batch_deleted"}).encode())
        return answer(
            body=json.dumps({"id": self.id, "type": "message_batch", "processing_status": "ended"}).encode()
        )


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.fixture
def batch(relay: Relay, request: pytest.FixtureRequest) -> Batch:
    made = Batch(f"msgbatch_{abs(hash(request.node.nodeid))}")
    relay.upstream.reply = made.reply
    return made


def key_name(request: pytest.FixtureRequest) -> str:
    return f"batches {abs(hash(request.node.nodeid))}"


@pytest.fixture
def app(relay: Relay, batch: Batch, request: pytest.FixtureRequest) -> Client:
    """The key that has made the batch."""
    _, app = new_key(relay.gateway, key_name(request), scopes=["batches"])
    body = {"requests": [{"custom_id": "r", "params": {"model": MODEL, "max_tokens": 5, "messages": []}}]}
    made = app.call("POST", "/v1/messages/batches", body)
    assert made.status == 200
    return app


def total(app: Client) -> dict[str, Any]:
    got: dict[str, Any] = app.call("GET", "/api/v1/usage").json()["data"]["total"]
    return got


@pytest.mark.parametrize(
    ("target", "accept"),
    [
        ("/v1/messages/batches/{}/results", "application/binary"),
        ("/api/v1/batches/{}/results", "application/json"),
        ("/api/v1/batches/{}/results", "application/x-jsonl"),
    ],
)
def test_reading_the_results_books_them_once(app: Client, batch: Batch, target: str, accept: str) -> None:
    for _ in range(2):
        got = app.call("GET", target.format(batch.id), headers=[("accept", accept)])
        assert got.status == 200
        assert got.body == lines() or len(got.json()["data"]) == REQUESTS + 1

    booked = total(app)
    assert (booked["requests"], Decimal(booked["cost_usd"])) == (REQUESTS, COST)
    assert (booked["input_tokens"], booked["output_tokens"]) == (REQUESTS * 1000, REQUESTS * 100)


def test_an_admin_who_reads_them_pays_nothing(relay: Relay, app: Client, batch: Batch) -> None:
    before = total(relay.gateway)["requests"]

    assert relay.gateway.call("GET", f"/v1/messages/batches/{batch.id}/results").status == 200

    assert total(app)["requests"] == REQUESTS
    assert total(relay.gateway)["requests"] == before + REQUESTS


def test_results_that_break_off_are_booked_when_they_are_read_whole(app: Client, batch: Batch) -> None:
    whole, batch.results = batch.results, [*batch.results[:3], CLOSE]
    with app.open("GET", f"/v1/messages/batches/{batch.id}/results") as got:
        got.chunk()
    assert total(app)["requests"] == 0

    batch.results = whole
    app.call("GET", f"/v1/messages/batches/{batch.id}/results")
    assert total(app)["requests"] == REQUESTS


@pytest.mark.parametrize("target", ["/v1/messages/batches/{}", "/api/v1/batches/{}"])
def test_a_batch_is_booked_before_it_is_deleted(app: Client, batch: Batch, target: str) -> None:
    assert app.call("DELETE", target.format(batch.id)).status == 200

    assert Decimal(total(app)["cost_usd"]) == COST
    path = f"/v1/messages/batches/{batch.id}"
    assert batch.asked[1:] == [f"GET {path}", f"GET {path}/results", f"DELETE {path}"]


def test_no_batch_begins_when_the_budget_is_used_up(relay: Relay, batch: Batch) -> None:
    _, app = new_key(relay.gateway, "batches no budget", usd_per_day=0.01)
    body = {"requests": [{"custom_id": "r", "params": {"model": MODEL, "max_tokens": 5, "messages": []}}]}
    assert app.call("POST", "/api/v1/batches/create", body).status == 200
    app.call("GET", f"/v1/messages/batches/{batch.id}/results")
    asked = len(batch.asked)

    refused = app.call("POST", "/api/v1/batches/create", body)
    assert refused.status == 402
    assert refused.json()["metadata"]["error_type"] == "PaymentRequiredError"
    assert app.call("POST", "/v1/messages/batches", body).json()["error"]["type"] == "billing_error"
    assert len(batch.asked) == asked


def test_metrics_tell_of_them(
    relay: Relay, app: Client, batch: Batch, request: pytest.FixtureRequest
) -> None:
    cost = "anthropic_gateway_cost_dollars_total"
    app.call("GET", f"/v1/messages/batches/{batch.id}/results")

    total(app)
    sample = f'{cost}{{key="{key_name(request)}",kind="batch",model="{MODEL}",quality="exact"}}'
    assert relay.gateway.metric(sample) == float(COST)
