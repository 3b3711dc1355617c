"""The ledger behind a running gateway: it agrees with the metrics, and no call is missing after `kill -9`."""

import json
import sqlite3
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RELAY_SETTINGS, Relay
from tests.support import gateway as gateways
from tests.support.client import Client
from tests.support.gateway import SOON, Gateway, eventually
from tests.support.keys import new_key
from tests.support.recorder import Received, Recorder, answer, stream
from tests.support.transcripts import FULL, events

MODEL = "claude-sonnet-4-20250514"
CALLS = 200


def message(request: Received) -> Sequence[Any]:
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": request.json()["model"],
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1000, "output_tokens": 100, "cache_read_input_tokens": 50},
    }
    return answer(body=json.dumps(body).encode())


def question(number: int, **changes: Any) -> dict[str, Any]:
    text = [{"role": "user", "content": f"call-{number:08}"}]
    return {"model": MODEL, "max_tokens": 100, "messages": text, **changes}


def ask(app: Client, number: int) -> int:
    """One call whose request id is also its prompt; 0 when the connection broke."""
    try:
        return app.call(
            "POST", "/v1/messages", question(number), [("x-request-id", f"call-{number:08}")]
        ).status
    except (OSError, HTTPException):
        return 0


def rows(data: Path) -> list[dict[str, Any]]:
    """The ledger as it stands in the database."""
    with closing(sqlite3.connect(data / "gateway.db")) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM calls")]


def test_after_kill_9_no_call_is_missing_and_nothing_stays_reserved(tmp_path: Path) -> None:
    with Recorder() as upstream:
        settings = RELAY_SETTINGS | {"ANTHROPIC_BASE_URL": upstream.url, "ANTHROPIC_TIMEOUT": "60"}

        def reply(request: Received) -> Sequence[Any]:
            # Every other call is still under way when the process is killed.
            return [0.0 if len(upstream.requests) % 2 else 30.0, *message(request)]

        upstream.reply = reply
        with ThreadPoolExecutor(CALLS) as pool, gateways.running(tmp_path, settings) as gateway:
            _, app = new_key(gateway, "killed", usd_per_day=1000)
            calls = [pool.submit(ask, app, number) for number in range(CALLS)]
            upstream.wait_for(CALLS // 2)
            gateway.process.kill()
            statuses = [call.result() for call in calls]
        assert statuses.count(0) > CALLS // 10
        reached = {request.json()["messages"][0]["content"] for request in upstream.requests}
        assert len(reached) >= CALLS // 2

        upstream.reply = message
        with gateways.running(tmp_path, settings) as gateway:
            ledger = rows(tmp_path / "data")
            assert reached <= {row["request_id"] for row in ledger}
            assert len(ledger) == len({row["request_id"] for row in ledger})
            assert {row["status"] for row in ledger} <= {"done", "interrupted", "failed", "canceled"}
            assert any(row["status"] == "interrupted" for row in ledger)
            left = 'anthropic_gateway_budget_reserved_dollars{key="killed",window="day"}'
            assert gateway.metric(left) == 0
            total = gateway.call("GET", "/api/v1/usage").json()["data"]["total"]
            assert total["requests"] == len(ledger)
            assert Decimal(total["cost_usd"]) == Decimal(sum(row["cost"] for row in ledger)) / 10**9
            spent = 'anthropic_gateway_budget_spent_dollars{key="killed",window="day"}'
            assert gateway.metric(spent) == float(total["cost_usd"])
            assert ask(Client(gateway.url, app.key), 0) == 200


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("target", ["/v1/messages", "/api/v1/messages/create"], ids=["native", "envelope"])
def test_the_model_that_answered_is_the_one_that_is_paid(relay: Relay, target: str, streamed: bool) -> None:
    """Whichever was asked for: a name may stand for another."""
    whole = {**FULL[0]["message"], "stop_reason": "end_turn"}
    relay.upstream.reply = lambda _: (
        stream(events(FULL)) if streamed else answer(body=json.dumps(whole).encode())
    )

    def paid(model: str) -> int:
        path = target.replace("create", "stream") if streamed else target
        body = question(0, model=model, **({"stream": True} if streamed and path == target else {}))
        request_id = f"paid-{uuid.uuid4().hex}"
        assert relay.gateway.call("POST", path, body, [("x-request-id", request_id)]).status == 200

        def booked() -> int | None:
            found = [row for row in rows(relay.gateway.data) if row["request_id"] == request_id]
            return found[0]["cost"] if found and found[0]["status"] == "done" else None

        return eventually(booked, SOON)

    assert paid("claude-haiku-4-5") == paid(whole["model"]) > 0


def test_metrics_and_ledger_agree_after_mixed_calls(relay: Relay) -> None:
    gateway, upstream = relay.gateway, relay.upstream
    _, app = new_key(gateway, "mixed")
    upstream.reply = lambda request: (
        stream(events(FULL)) if request.json().get("stream") else message(request)
    )
    for number in range(5):
        assert ask(app, number) == 200
        assert app.call("POST", "/v1/messages", question(number, stream=True)).status == 200
        assert app.call("POST", "/api/v1/messages/stream", question(number)).status == 200
        assert app.call("POST", "/api/v1/messages/create", question(number)).status == 200
        haiku = question(number, model="claude-haiku-4-5")
        assert app.call("POST", "/v1/messages", haiku).status == 200
    upstream.script(answer(529), [*stream(events(FULL[:4]))[:2], 20.0])
    assert ask(app, 6) == 529
    with app.open("POST", "/v1/messages", question(7, stream=True)) as got:
        got.until(b"message_start")

    def settled() -> dict[str, Any] | None:  # that stream too, whose end the gateway has yet to notice
        [row] = app.call("GET", "/api/v1/usage?group_by=key").json()["data"]["rows"]
        return row if row["estimated_requests"] else None

    row = eventually(settled, SOON)
    assert row["requests"] == 27
    assert row["estimated_requests"] == 1
    tokens = _sums(gateway, "anthropic_gateway_tokens_total", "type")
    assert tokens["input"] == row["input_tokens"]
    assert tokens["output"] == row["output_tokens"]
    assert tokens["cache_read"] == row["cache_read_input_tokens"]
    written = tokens["cache_write_5m"] + tokens.get("cache_write_1h", 0)
    assert written == row["cache_creation_input_tokens"]
    dollars = _sums(gateway, "anthropic_gateway_cost_dollars_total", "quality")
    assert round(sum(dollars.values()), 9) == float(row["cost_usd"])
    assert dollars["estimated"] > 0


def _sums(gateway: Gateway, metric: str, label: str) -> dict[str, float]:
    """The samples of the key `mixed`, added up by one of their labels."""
    sums: dict[str, float] = {}
    for line in gateway.call("GET", "/metrics").body.decode().splitlines():
        if line.startswith(f"{metric}{{") and 'key="mixed"' in line:
            value = line.partition(f'{label}="')[2].partition('"')[0]
            sums[value] = sums.get(value, 0.0) + float(line.rpartition(" ")[2])
    return sums
