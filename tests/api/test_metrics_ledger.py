"""Tokens and dollars in `/metrics` are the ledger's to the last digit, after calls of every sort at once."""

import json
import os
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import RELAY_SETTINGS
from tests.support import gateway as gateways
from tests.support.client import Client
from tests.support.gateway import Gateway, eventually
from tests.support.keys import new_key
from tests.support.recorder import CLOSE, Received, Recorder, answer, stream
from tests.support.transcripts import event

CALLS = 1000 if os.environ.get("CI") else 150
MODELS = ("claude-sonnet-4-20250514", "claude-haiku-4-5", "claude-opus-5", "a-model-without-a-price")
BATCHES = 3
TOKENS = {
    "input_tokens": ("input",),
    "output_tokens": ("output",),
    "cache_read_input_tokens": ("cache_read",),
    "cache_creation_input_tokens": ("cache_write_5m", "cache_write_1h"),
}


class Upstream:
    """Answers with odd numbers of tokens, fails now and then, and breaks streams off."""

    def __init__(self) -> None:
        self._random = random.Random(7)
        self._batches = 0

    def usage(self) -> dict[str, Any]:
        some = self._random.randrange
        short, long = some(1, 997), some(0, 2) * some(1, 89)
        return {
            "input_tokens": some(1, 9973),
            "output_tokens": some(1, 997),
            "cache_read_input_tokens": some(0, 2) * some(1, 99991),
            "cache_creation_input_tokens": short + long,
            "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        }

    def message(self, model: str) -> dict[str, Any]:
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [{"type": "text", "text": "Hi"}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": self.usage(),
        }

    def reply(self, request: Received) -> Sequence[Any]:
        if "batches" in request.target:
            return self._batch(request)
        asked = request.json()
        if self._random.random() < 0.1:
            return answer(self._random.choice((400, 429, 500, 529)))
        if not asked.get("stream"):
            return answer(body=json.dumps(self.message(asked["model"])).encode())
        return self._stream(asked["model"])

    def _stream(self, model: str) -> Sequence[Any]:
        message = self.message(model)
        usage = message["usage"]
        begun = {**message, "content": [], "usage": {**usage, "output_tokens": 1}}
        text = {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "Hi " * 40},
        }
        begin = [
            event({"type": "message_start", "message": begun}),
            event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            event(text),
        ]
        if self._random.random() < 0.2:
            return [*stream(*begin)[:-1], CLOSE]
        delta = {"stop_reason": "end_turn", "stop_sequence": None}
        end = [
            event({"type": "content_block_stop", "index": 0}),
            event({"type": "message_delta", "delta": delta, "usage": usage}),
            event({"type": "message_stop"}),
        ]
        return stream(*begin, *end)

    def _batch(self, request: Received) -> Sequence[Any]:
        if request.target.endswith("/results"):
            results = [
                {"type": "succeeded", "message": self.message(model)} for model in MODELS for _ in range(20)
            ]
            lines = [json.dumps({"custom_id": str(n), "result": each}) for n, each in enumerate(results)]
            return stream("\n".join(lines).encode(), kind="application/x-jsonl")
        self._batches += request.method == "POST"
        batch = {
            "id": f"msgbatch_{self._batches}",
            "type": "message_batch",
            "processing_status": "ended",
        }
        return answer(body=json.dumps(batch).encode())


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("mixed")
    with Recorder() as recorder:
        recorder.reply = Upstream().reply
        settings = RELAY_SETTINGS | {
            "ANTHROPIC_BASE_URL": recorder.url,
            "ANTHROPIC_MAX_RETRIES": "0",
            "ANTHROPIC_TIMEOUT": "60",
        }

        with gateways.running(folder, settings) as running:
            yield running


def one_of_many(apps: list[Client], number: int) -> None:
    """A call of one sort or another; how it ends is upstream's affair."""
    app, model = apps[number % len(apps)], MODELS[number % len(MODELS)]
    body = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": f"{number}"}]}
    match number % 5:
        case 0:
            app.call("POST", "/v1/messages", body)
        case 1:
            app.call("POST", "/api/v1/messages/create", body)
        case 2:
            _read(app, "/v1/messages", body | {"stream": True})
        case 3:
            _read(app, "/api/v1/messages/stream", body)
        case 4:  # leaves in the middle
            with app.open("POST", "/v1/messages", body | {"stream": True}) as got:
                if got.status == 200:
                    got.chunk()


def _read(app: Client, target: str, body: dict[str, Any]) -> None:
    with app.open("POST", target, body) as got:
        while got.chunk():
            continue


def batches(app: Client) -> None:
    request = {"custom_id": "r", "params": {"model": MODELS[0], "max_tokens": 5, "messages": []}}
    for _ in range(BATCHES):
        made = app.call("POST", "/v1/messages/batches", {"requests": [request]}).json()["id"]
        assert app.call("GET", f"/v1/messages/batches/{made}/results").status == 200


def test_the_metrics_are_the_ledger(gateway: Gateway) -> None:
    apps = [new_key(gateway, f"app {number}")[1] for number in range(3)]
    batches(apps[0])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: one_of_many(apps, number), range(CALLS)))

    rows = eventually(lambda: settled(gateway), 20)

    tokens: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    dollars: dict[str, Decimal] = defaultdict(Decimal)
    qualities, kinds = set(), set()
    for line in gateway.call("GET", "/metrics").body.decode().splitlines():
        for sample in _samples(line):
            name, labels, text = sample
            if name == "anthropic_gateway_tokens_total":
                tokens[labels["key"], labels["type"]] += Decimal(text)
            if name == "anthropic_gateway_cost_dollars_total":
                dollars[labels["key"]] += Decimal(text)
                qualities.add(labels["quality"])
                kinds.add(labels["kind"])

    assert sum(row["requests"] for row in rows) > CALLS * 0.9
    assert sum(row["estimated_requests"] for row in rows) > CALLS // 20
    assert qualities == {"exact", "estimated"}
    assert kinds == {"message", "batch"}
    for row in rows:
        for column, types in TOKENS.items():
            assert sum(tokens[row["key"], each] for each in types) == row[column], (row["key"], column)
        assert dollars[row["key"]] == Decimal(row["cost_usd"])


def settled(gateway: Gateway) -> list[dict[str, Any]] | None:
    """The ledger by key, once no call is open any more."""
    if gateway.metrics("anthropic_gateway_inflight_requests") > 1:  # the scrape itself is one
        return None
    rows: list[dict[str, Any]] = gateway.call("GET", "/api/v1/usage?group_by=key").json()["data"]["rows"]
    return rows


def _samples(line: str) -> Iterator[tuple[str, dict[str, str], str]]:
    """A line's sample, its number as it is written."""
    for family in text_string_to_metric_families(line + "\n"):
        for sample in family.samples:
            yield sample.name, sample.labels, line.rpartition(" ")[2]
