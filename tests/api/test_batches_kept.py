"""What the gateway keeps of batches: over a restart, after Anthropic has forgotten, until it is deleted."""

import itertools
import json
import sqlite3
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from anthropic import Anthropic
from standardwebhooks import Webhook

from tests.support import gateway as gateways
from tests.support.client import Answer, Client
from tests.support.gateway import UPSTREAM_KEY, Gateway, eventually
from tests.support.recorder import Received, Recorder, answer, stream
from tests.support.snippets import snippet
from tests.support.walls import MESSAGE, is_missing, make_app, make_batch

IMPATIENT = ("-m", "tests.api.impatient")
SECRET = "whsec_" + b64encode(b"a secret of thirty-two bytes ...").decode()
FORGOTTEN = b'{"type":"error","error":{"type":"not_found_error","message":"results have been deleted"}}'
RESULTS = b"".join(
    json.dumps({"custom_id": f"r{number}", "result": {"type": "expired"}}).encode() + b" \n"
    for number in range(40_000)
)
"""1.9 MB, more than is written at a time; blanks before line ends, which no parser would bring back."""


class Upstream:
    """Anthropic with its batches: what it remembers of them is up to the test."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.numbers = itertools.count()
        self.asked: list[str] = []
        self.batches: dict[str, dict[str, Any]] = {}
        self.results: dict[str, bytes] = {}
        recorder.reply = self.reply

    def reply(self, request: Received) -> Sequence[Any]:
        self.asked.append(f"{request.method} {request.target}")
        _, _, rest = request.target.partition("/v1/messages/batches")
        if request.method == "POST":
            batch_id = f"msgbatch_{next(self.numbers)}"
            self.batches[batch_id] = {
                "id": batch_id,
                "type": "message_batch",
                "processing_status": "in_progress",
            }
            return answer(body=json.dumps(self.batches[batch_id]).encode())
        name, _, action = rest.strip("/").partition("/")
        if action == "results":
            found = self.results.get(name)
            lines = (
                None if found is None else [found[at : at + 100_000] for at in range(0, len(found), 100_000)]
            )
            return answer(404, FORGOTTEN) if lines is None else stream(*lines, kind="application/x-jsonl")
        if name not in self.batches:
            return answer(404, FORGOTTEN)
        if request.method == "DELETE":
            del self.batches[name]
            return answer(body=json.dumps({"id": name, "type": "message_batch_deleted"}).encode())
        return answer(body=json.dumps(self.batches[name]).encode())

    def end(self, batch_id: str) -> None:
        """The batch has ended."""
        url = f"https://api.anthropic.com/v1/messages/batches/{batch_id}/results"
        told = {"processing_status": "ended", "request_counts": {"expired": 40_000}, "results_url": url}
        self.batches[batch_id] |= told
        self.results[batch_id] = RESULTS

    def archive(self, batch_id: str) -> None:
        """29 days have passed: the results are gone, the batch says so."""
        self.batches[batch_id] |= {"archived_at": "2026-12-31T00:00:00Z", "results_url": None}
        del self.results[batch_id]

    def forget(self, batch_id: str) -> None:
        """As if there had never been such a batch."""
        del self.batches[batch_id]
        self.results.pop(batch_id, None)


class Parts(NamedTuple):
    gateway: Gateway
    upstream: Upstream
    receiver: Recorder
    app: Client

    def ended_batch(self) -> str:
        """A batch of the app's that has ended and been looked at."""
        batch_id, told = make_batch(self.app), len(self.receiver.requests)
        self.upstream.end(batch_id)
        self.receiver.wait_for(told + 1)
        return batch_id


def settings(upstream: Recorder, receiver: Recorder) -> dict[str, str]:
    return {
        "ANTHROPIC_API_KEY": UPSTREAM_KEY,
        "ANTHROPIC_BASE_URL": upstream.url,
        "BATCH_WEBHOOK_URL": f"{receiver.url}/hook",
        "BATCH_WEBHOOK_SECRET": SECRET,
        "BATCH_WEBHOOK_PRIVATE": "true",
    }


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with Recorder() as recorder, Recorder() as receiver:
        folder = tmp_path_factory.mktemp("kept")
        with gateways.running(folder, settings(recorder, receiver), IMPATIENT) as gateway:
            app = make_app(gateway, "batches").client
            yield Parts(gateway, Upstream(recorder), receiver, app)


def results(app: Client, batch_id: str, dialect: str) -> Answer:
    if dialect == "native":
        return app.call("GET", f"/v1/messages/batches/{batch_id}/results")
    accept = "application/x-jsonl" if dialect == "lines" else "application/json"
    return app.call("GET", f"/api/v1/batches/{batch_id}/results", headers=[("accept", accept)])


def batch(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    value: dict[str, Any] = answer.json()
    return value["data"] if "success" in value else value


ITEMS = {"native": "/v1/messages/batches/{}", "envelope": "/api/v1/batches/{}"}
dialects = pytest.mark.parametrize("dialect", ITEMS)


def test_results_that_anthropic_has_dropped(parts: Parts) -> None:
    batch_id = parts.ended_batch()
    parts.upstream.archive(batch_id)

    for dialect in ("native", "lines"):
        got = results(parts.app, batch_id, dialect)
        assert (got.status, got.body) == (200, RESULTS)
        assert got.header("content-type") == "application/x-jsonl"
    listed = batch(results(parts.app, batch_id, "envelope"))
    assert [entry["custom_id"] for entry in listed] == [f"r{number}" for number in range(40_000)]


@dialects
def test_an_archived_batch_leads_to_what_is_kept(parts: Parts, dialect: str) -> None:
    batch_id = parts.ended_batch()
    parts.upstream.archive(batch_id)

    shown = batch(parts.app.call("GET", ITEMS[dialect].format(batch_id)))

    assert shown["archived_at"] == "2026-12-31T00:00:00Z"
    assert shown["results_url"] == f"{parts.gateway.url}{ITEMS[dialect].format(batch_id)}/results"
    got = parts.app.call("GET", shown["results_url"].removeprefix(parts.gateway.url))
    assert got.status == 200
    assert b'"custom_id"' in got.body


@dialects
def test_a_batch_that_anthropic_has_forgotten(parts: Parts, dialect: str) -> None:
    batch_id = parts.ended_batch()
    parts.upstream.forget(batch_id)

    shown = batch(parts.app.call("GET", ITEMS[dialect].format(batch_id)))

    assert (shown["id"], shown["processing_status"]) == (batch_id, "ended")
    assert shown["request_counts"] == {"expired": 40_000}
    assert shown["results_url"] == f"{parts.gateway.url}{ITEMS[dialect].format(batch_id)}/results"
    assert results(parts.app, batch_id, "native").body == RESULTS


def test_while_anthropic_has_them_it_is_asked(parts: Parts) -> None:
    batch_id = parts.ended_batch()
    parts.upstream.asked.clear()

    assert results(parts.app, batch_id, "native").body == RESULTS
    assert parts.upstream.asked == [f"GET /v1/messages/batches/{batch_id}/results"]


def test_the_sdk_notices_nothing(parts: Parts) -> None:
    batch_id = parts.ended_batch()
    parts.upstream.archive(batch_id)

    with Anthropic(base_url=parts.gateway.url, api_key=parts.app.key, max_retries=0) as client:
        assert (
            sum(1 for entry in client.messages.batches.results(batch_id) if entry.result.type == "expired")
            == 40_000
        )


def test_another_key_sees_nothing_of_it(parts: Parts) -> None:
    batch_id = parts.ended_batch()
    parts.upstream.forget(batch_id)
    other = make_app(parts.gateway, "curious").client

    for dialect in ("native", "lines", "envelope"):
        assert is_missing(results(other, batch_id, dialect))
    for item in ITEMS.values():
        assert is_missing(other.call("GET", item.format(batch_id)))
        assert is_missing(other.call("DELETE", item.format(batch_id)))
    assert results(parts.gateway, batch_id, "native").body == RESULTS


@dialects
@pytest.mark.parametrize("forgotten", [False, True])
def test_deleting_a_batch_deletes_what_is_kept(parts: Parts, dialect: str, forgotten: bool) -> None:
    before = kept_bytes(parts.gateway.data)
    batch_id = parts.ended_batch()
    assert kept_bytes(parts.gateway.data) == before + len(RESULTS)
    if forgotten:
        parts.upstream.forget(batch_id)

    gone = batch(parts.app.call("DELETE", ITEMS[dialect].format(batch_id)))

    assert gone == {"id": batch_id, "type": "message_batch_deleted"}
    assert kept_bytes(parts.gateway.data) == before
    assert results(parts.app, batch_id, "native").status == 404
    assert parts.app.call("GET", ITEMS[dialect].format(batch_id)).status == 404


def kept_bytes(data: Path) -> int:
    return sum(path.stat().st_size for path in (data / "results").glob("*"))


def entered(data: Path, batch_id: str) -> bool:
    """Whether a batch is known as ended: from then on its results are kept whole."""
    with closing(sqlite3.connect(f"file:{data / 'gateway.db'}?mode=ro", uri=True)) as database:
        query = "SELECT 1 FROM ended_batches WHERE batch_id = ?"
        return database.execute(query, [batch_id]).fetchone() is not None


def test_a_key_may_delete_what_is_kept_of_it_alone(parts: Parts) -> None:
    batch_id = parts.ended_batch()
    parts.upstream.archive(batch_id)
    assert parts.app.call("DELETE", "/api/v1/content").status == 200

    assert results(parts.app, batch_id, "native").status == 404
    assert batch(parts.app.call("GET", ITEMS["native"].format(batch_id)))["results_url"] is None


def test_what_is_kept_is_for_the_servers_user_alone(parts: Parts) -> None:
    parts.ended_batch()

    folder = parts.gateway.data / "results"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_the_webhook(parts: Parts) -> None:
    """Signed so that the public library takes it, and with nothing of the content in it."""
    batch_id = parts.ended_batch()

    request = parts.receiver.requests[-1]
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    event = Webhook(SECRET).verify(request.body, {name: str(request.header(name)) for name in names})
    assert event["type"] == "batch.ended"
    assert event["data"]["id"] == batch_id
    assert event["data"]["request_counts"] == {"expired": 40_000}
    assert event["data"]["key"].startswith("batches ")
    assert b"custom_id" not in request.body
    assert b"results_url" not in request.body
    shown = json.loads(snippet("docs/batches.md > A webhook instead of asking > json"))
    assert (shown.keys(), shown["data"].keys()) == (event.keys(), event["data"].keys())


def test_the_cost_is_booked_to_the_maker(parts: Parts) -> None:
    """Nobody but the gateway reads the results."""
    usage = {"input_tokens": 1000, "output_tokens": 100}
    message = {"model": "claude-sonnet-4-20250514", "stop_reason": "end_turn", "usage": usage}
    line = (
        json.dumps({"custom_id": "a", "result": {"type": "succeeded", "message": message}}).encode() + b"\n"
    )
    app, told_before = make_app(parts.gateway, "spender").client, len(parts.receiver.requests)
    batch_id = make_batch(app)
    parts.upstream.end(batch_id)
    parts.upstream.results[batch_id] = line
    parts.receiver.wait_for(told_before + 1)

    total = app.call("GET", "/api/v1/usage").json()["data"]["total"]
    assert (total["requests"], total["cost_usd"]) == (1, "0.00225")


def test_over_a_restart(tmp_path: Path) -> None:
    """Killed while the batch runs and the webhook is down: all is done by the next process."""
    with Recorder() as recorder, Recorder() as receiver:
        upstream, chosen = Upstream(recorder), settings(recorder, receiver)
        receiver.reply = lambda _: answer(503)
        with gateways.running(tmp_path, chosen, IMPATIENT) as gateway:
            app = make_app(gateway, "batches").client
            early, late = make_batch(app), make_batch(app)
            upstream.end(early)
            failed = receiver.wait_for()
        upstream.end(late)
        receiver.reply = lambda _: answer(204)
        with gateways.running(tmp_path, chosen, IMPATIENT) as gateway:
            app = Client(gateway.url, app.key)

            def both() -> bool | None:
                return {early, late} <= {told(one) for one in receiver.requests if one.body} or None

            eventually(both, 20.0)
            again = [one for one in receiver.requests if told(one) == early]
            assert again[-1].header("webhook-id") == failed.header("webhook-id")
            for batch_id in (early, late):
                upstream.forget(batch_id)
                assert results(app, batch_id, "native").body == RESULTS


def told(request: Received) -> str:
    """Which batch a webhook's message is about."""
    return str(json.loads(request.body)["data"]["id"])


def test_with_the_sandbox(tmp_path: Path) -> None:
    """From its making to its end in Anthropic's place, where somebody then deletes it past the gateway."""
    chosen = {"UPSTREAM": "sandbox", "RESPONSE_VALIDATION": "enforce"}
    with gateways.running(tmp_path, chosen, IMPATIENT) as gateway:
        app = make_app(gateway, "batches").client
        batch_id = make_batch(app, params=MESSAGE)
        eventually(lambda: entered(gateway.data, batch_id) or None, 20.0)
        whole = results(app, batch_id, "native").body
        sandbox = next(line["sandbox"] for line in gateway.log() if "sandbox" in line)
        past = [("anthropic-version", "2023-06-01")]
        assert (
            Client(sandbox, "sandbox").call("DELETE", f"/v1/messages/batches/{batch_id}", headers=past).status
            == 200
        )

        assert results(app, batch_id, "native").body == whole
        assert batch(results(app, batch_id, "envelope"))[0]["custom_id"] == "a"
        assert batch(app.call("GET", f"/api/v1/batches/{batch_id}"))["processing_status"] == "ended"


def test_none_are_kept_where_the_operator_wants_none(tmp_path: Path) -> None:
    with Recorder() as recorder, Recorder() as receiver:
        chosen = settings(recorder, receiver) | {"BATCH_RESULTS_DAYS": "0"}
        with gateways.running(tmp_path, chosen, IMPATIENT) as gateway:
            upstream, app = Upstream(recorder), make_app(gateway, "batches").client
            batch_id = make_batch(app)
            upstream.end(batch_id)
            receiver.wait_for()
            upstream.archive(batch_id)

            assert kept_bytes(gateway.data) == 0
            assert results(app, batch_id, "native").status == 404
            assert batch(app.call("GET", ITEMS["native"].format(batch_id)))["results_url"] is None
