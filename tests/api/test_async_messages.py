"""Messages in their own time: stored before they are accepted, run once, kept for their key alone."""

import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RELAY_SETTINGS, Relay
from tests.support import gateway as gateways
from tests.support.client import Answer, Client
from tests.support.gateway import Gateway, eventually
from tests.support.keys import KEYS, new_key
from tests.support.recorder import Gate, Recorder, answer

PATH = "/api/v1/messages/async"
MODEL = "claude-sonnet-4-20250514"
BODY: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
SOON = 10.0


def message(number: int = 1) -> bytes:
    return (
        b'{ "id":"msg_%d","type":"message","role":"assistant","model":"claude-sonnet-4-20250514",'
        b'"content":[{"type":"text","text":"a secret answer"}],"stop_reason":"end_turn","stop_sequence":null,'
        b'"usage":{"input_tokens":1000,"output_tokens":1000} }' % number
    )


COST = "0.018"
"""Of such an answer: 1,000 input tokens at 3 dollars and 1,000 output tokens at 15 dollars a million."""


@pytest.fixture
def app(relay: Relay) -> Client:
    return new_key(relay.gateway, f"async {uuid.uuid4()}")[1]


def create(client: Client, body: dict[str, Any] = BODY, *headers: tuple[str, str]) -> str:
    """Have a message accepted; gives its path."""
    accepted = client.call("POST", PATH, body, headers)
    assert accepted.status == 202, accepted.body
    data = accepted.json()["data"]
    assert data["status"] == "queued"
    location = accepted.header("location")
    assert location == f"{PATH}/{data['id']}"
    return location


def get(client: Client, path: str) -> dict[str, Any]:
    found = client.call("GET", path)
    assert found.status == 200, found.body
    data: dict[str, Any] = found.json()["data"]
    return data


def reached(client: Client, path: str, *statuses: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        data = get(client, path)
        return data if data["status"] in statuses else None

    return eventually(look, SOON)


def usage(client: Client) -> dict[str, Any]:
    total: dict[str, Any] = client.call("GET", "/api/v1/usage").json()["data"]["total"]
    return total


def test_its_whole_life(relay: Relay, app: Client) -> None:
    gate = Gate()
    relay.upstream.script([gate, *answer(body=message(), headers=[("request-id", "req_upstream_7")])])
    path = create(app, BODY, ("anthropic-beta", "one"))
    request = relay.upstream.wait_for(1)
    running = reached(app, path, "running")
    assert (running["ended_at"], running["message"], running["error"]) == (None, None, None)
    gate.open()

    done = reached(app, path, "succeeded")

    assert done["message"] == json.loads(message())
    assert message() in app.call("GET", path).body  # every byte as Anthropic sent it
    assert (done["cost_usd"], done["cost_estimated"]) == (COST, False)
    assert done["upstream_request_id"] == "req_upstream_7"
    assert done["created_at"] <= done["started_at"] <= done["ended_at"] < done["expires_at"]
    assert request.target == "/v1/messages"
    assert request.json()["max_tokens"] == 1024  # as everywhere in the envelope
    assert request.header("anthropic-beta") == "one"
    assert request.header("anthropic-version") == "2023-06-01"
    assert usage(app)["cost_usd"] == COST

    assert app.call("DELETE", path).json()["data"] == {"id": done["id"], "outcome": "deleted"}
    assert app.call("GET", path).status == 404
    assert app.call("DELETE", path).status == 404


def test_the_allowances_of_the_envelope(relay: Relay, app: Client) -> None:
    relay.upstream.script(answer(body=message()))
    tools = [{"name": "look", "input_schema": {"type": "object"}}]
    path = create(app, {**BODY, "tools": tools, "tool_choice": "any"})
    reached(app, path, "succeeded")
    assert relay.upstream.requests[0].json()["tool_choice"] == {"type": "any"}


def test_a_large_one(relay: Relay, app: Client) -> None:
    relay.upstream.script(answer(body=message()))
    content = "tide " * 500_000
    path = create(app, {**BODY, "messages": [{"role": "user", "content": content}]})
    assert reached(app, path, "succeeded")["message"]["id"] == "msg_1"
    assert relay.upstream.requests[0].json()["messages"][0]["content"] == content
    assert relay.upstream.requests[0].json()["max_tokens"] == 1024


def test_an_answer_with_half_a_surrogate_pair(relay: Relay, app: Client) -> None:
    """A text that was cut to a length: JSON can say it, UTF-8 cannot. It is paid for, so it can be had."""
    odd = message().replace(b"a secret answer", b"cut \\ud83d")
    relay.upstream.script(answer(200, odd))

    found = reached(app, create(app), "succeeded")

    assert found["message"]["content"][0]["text"] == "cut \ud83d"


@pytest.mark.parametrize(
    "body", [{}, {**BODY, "stream": True}, {**BODY, "messages": [{"role": "nobody", "content": ""}]}]
)
def test_what_breaks_the_contract_is_refused_at_once(relay: Relay, app: Client, body: dict[str, Any]) -> None:
    assert app.call("POST", PATH, body).status == 400
    assert relay.upstream.requests == []


def test_a_caller_who_hangs_up_at_once(relay: Relay, app: Client) -> None:
    relay.upstream.script(answer(body=message()))
    app.begin("POST", PATH, BODY).close()
    relay.upstream.wait_for(1)
    eventually(lambda: usage(app)["cost_usd"] == COST or None, SOON)


@pytest.mark.parametrize("status", [400, 429, 529])
def test_a_refusal_of_anthropics(relay: Relay, app: Client, status: int) -> None:
    refusal = b'{"type":"error","error":{"type":"invalid_request_error","message":"no such model"}}'
    relay.upstream.script(answer(status, refusal, [("x-should-retry", "false")]))
    failed = reached(app, create(app), "failed")
    assert (failed["error"]["status"], failed["error"]["message"]) == (status, "no such model")
    assert (failed["message"], failed["cost_usd"]) == (None, "0")


def test_a_failure_of_anthropics_is_tried_again(relay: Relay, app: Client) -> None:
    relay.upstream.script(answer(500, b"{}", [("retry-after-ms", "1")]), answer(body=message()))
    reached(app, create(app), "succeeded")
    assert len(relay.upstream.requests) == 2


def test_cancelling_a_running_one_ends_it_upstream_at_once(relay: Relay, app: Client) -> None:
    gate = Gate()
    relay.upstream.script([gate])
    path = create(app)
    request = relay.upstream.wait_for(1)
    reached(app, path, "running")

    assert app.call("DELETE", path).json()["data"]["outcome"] == "canceled"

    request.wait_until_left(2)
    canceled = reached(app, path, "canceled")
    assert canceled["ended_at"] is not None

    def cost() -> dict[str, Any] | None:
        found = get(app, path)
        return found if found["cost_estimated"] else None

    assert float(eventually(cost, SOON)["cost_usd"]) > 0  # the prompt was read, at least
    assert app.call("DELETE", path).json()["data"]["outcome"] == "deleted"
    gate.open()


def test_the_keys_own_limits_hold(relay: Relay) -> None:
    _, app = new_key(relay.gateway, f"one at a time {uuid.uuid4()}", concurrency=1)
    gate = Gate()
    relay.upstream.script([gate, *answer(body=message(1))], answer(body=message(2)), answer(body=message(3)))
    paths = [create(app) for _ in range(3)]
    relay.upstream.wait_for(1)
    reached(app, paths[0], "running")
    assert [get(app, path)["status"] for path in paths[1:]] == ["queued", "queued"]
    assert relay.gateway.metric('anthropic_gateway_async_messages{state="running"}') == 1
    assert relay.gateway.metric('anthropic_gateway_async_messages{state="queued"}') == 2
    assert app.call("DELETE", paths[1]).json()["data"]["outcome"] == "canceled"
    gate.open()

    assert reached(app, paths[2], "succeeded")["message"]["id"] == "msg_2"  # the second never went up
    assert get(app, paths[1])["status"] == "canceled"
    assert len(relay.upstream.requests) == 2


def test_one_key_does_not_stand_in_the_way_of_another(relay: Relay, app: Client) -> None:
    _, slow = new_key(relay.gateway, f"slow {uuid.uuid4()}", concurrency=1)
    gate = Gate()
    relay.upstream.script([gate, *answer(body=message(1))], answer(body=message(2)))
    slow_paths = [create(slow) for _ in range(2)]
    relay.upstream.wait_for(1)
    reached(app, create(app), "succeeded")
    gate.open()
    relay.upstream.reply = lambda _: answer(body=message(3))
    for path in slow_paths:
        reached(slow, path, "succeeded")


def test_a_budget_that_is_used_up(relay: Relay) -> None:
    _, app = new_key(relay.gateway, f"poor {uuid.uuid4()}", usd_per_day=0.01)
    relay.upstream.reply = lambda _: answer(body=message())
    reached(app, create(app), "succeeded")
    failed = reached(app, create(app), "failed")
    assert failed["error"]["error_type"] == "PaymentRequiredError"
    assert len(relay.upstream.requests) == 1


def test_walls(relay: Relay, app: Client) -> None:
    relay.upstream.script(answer(body=message()))
    path = create(app)
    reached(app, path, "succeeded")
    _, other = new_key(relay.gateway, f"other {uuid.uuid4()}")
    assert other.call("GET", path).status == 404
    assert other.call("DELETE", path).status == 404
    assert get(relay.gateway, path)["message"]["id"] == "msg_1"  # the admin sees all
    _, files = new_key(relay.gateway, f"files {uuid.uuid4()}", scopes=["files"])
    assert files.call("GET", path).status == 403


def test_a_revoked_keys_message_does_not_run(relay: Relay) -> None:
    key_id, app = new_key(relay.gateway, f"revoked {uuid.uuid4()}", concurrency=1)
    gate = Gate()
    relay.upstream.script([gate, *answer(body=message())])
    first, second = create(app), create(app)
    relay.upstream.wait_for(1)
    assert relay.gateway.call("DELETE", f"{KEYS}/{key_id}").status == 200
    gate.open()

    failed = reached(relay.gateway, second, "failed")

    assert failed["error"]["error_type"] == "AuthenticationError"
    assert reached(relay.gateway, first, "succeeded")["message"]["id"] == "msg_1"
    assert len(relay.upstream.requests) == 1


def test_rights_are_those_of_the_run(relay: Relay) -> None:
    key_id, app = new_key(relay.gateway, f"narrowed {uuid.uuid4()}", concurrency=1)
    gate = Gate()
    relay.upstream.script([gate, *answer(body=message())])
    create(app)
    second = create(app)
    relay.upstream.wait_for(1)
    assert relay.gateway.call("PATCH", f"{KEYS}/{key_id}", {"models": ["claude-opus-*"]}).status == 200
    gate.open()
    assert reached(app, second, "failed")["error"]["error_type"] == "PermissionDeniedError"
    assert len(relay.upstream.requests) == 1


def test_an_idempotency_key_makes_one_of_two(relay: Relay, app: Client) -> None:
    relay.upstream.reply = lambda _: answer(body=message())
    key = ("idempotency-key", str(uuid.uuid4()))
    first = app.call("POST", PATH, BODY, [key])
    second = app.call("POST", PATH, BODY, [key])
    assert (second.status, second.body) == (202, first.body)
    assert second.header("idempotency-replayed") == "true"
    assert second.header("location") == first.header("location")
    reached(app, str(first.header("location")), "succeeded")
    assert len(relay.upstream.requests) == 1


Restarted = Callable[..., Gateway]


@pytest.fixture
def upstream_alone() -> Iterator[Recorder]:
    with Recorder() as upstream:
        yield upstream


def settings(upstream: Recorder, **more: str) -> dict[str, str]:
    return RELAY_SETTINGS | {"ANTHROPIC_BASE_URL": upstream.url, "ANTHROPIC_TIMEOUT": "60"} | more


def modes(gateway: Gateway) -> list[int]:
    """Of the files of what is kept; one may be deleted meanwhile."""
    found = []
    for path in (gateway.data / "results").iterdir():
        with suppress(FileNotFoundError):
            found.append(path.stat().st_mode & 0o777)
    return found


def rows(gateway: Gateway, sql: str) -> list[Any]:
    with closing(sqlite3.connect(gateway.data / "gateway.db")) as database:
        return database.execute(sql).fetchall()


def test_a_kill_interrupts_what_runs_and_what_waits_runs_after_it(
    tmp_path: Path, upstream_alone: Recorder
) -> None:
    upstream, gate = upstream_alone, Gate()
    upstream.script([gate])
    one_at_a_time = settings(upstream, ASYNC_MESSAGE_CONCURRENCY="1", ASYNC_MESSAGE_QUEUE="2")
    with gateways.running(tmp_path, one_at_a_time) as gateway:
        running = create(gateway)
        upstream.wait_for(1)
        reached(gateway, running, "running")
        waiting = create(gateway)
        gateway.process.kill()
        gateway.process.wait()
    upstream.reply = lambda _: answer(body=message(2))

    with gateways.running(tmp_path, one_at_a_time) as gateway:
        interrupted = reached(gateway, running, "interrupted")
        done = reached(gateway, waiting, "succeeded")
        kept = eventually(lambda: found if len(found := modes(gateway)) == 1 else None, SOON)
        booked = rows(gateway, "SELECT status, cost FROM calls ORDER BY id")
        written = (gateway.data / "gateway.db").read_bytes() + gateway.output.read_bytes()
        gateway.terminate()
        gateway.process.wait(SOON)

    assert interrupted["cost_estimated"] is True
    assert interrupted["cost_usd"] == usd(booked[0][1])
    assert [status for status, _ in booked] == ["interrupted", "done"]
    assert done["message"]["id"] == "msg_2"
    assert len(upstream.requests) == 2  # each went up once
    assert kept == [0o600]  # the answer alone: no prompt is kept for long of what has ended
    assert b"a secret answer" not in written
    gate.open()


def usd(nanodollars: int) -> str:
    return f"{nanodollars / 1e9:.9f}".rstrip("0")


def test_a_stop_waits_for_what_runs_within_its_grace(tmp_path: Path, upstream_alone: Recorder) -> None:
    upstream, gate = upstream_alone, Gate()
    upstream.script([gate, *answer(body=message())])
    with gateways.running(tmp_path, settings(upstream)) as gateway:
        path = create(gateway)
        upstream.wait_for(1)
        gateway.terminate()
        time.sleep(0.2)
        gate.open()
        assert gateway.process.wait(SOON) == 0
    with gateways.running(tmp_path, settings(upstream)) as gateway:
        assert get(gateway, path)["status"] == "succeeded"
    assert len(upstream.requests) == 1


def test_a_stop_interrupts_what_runs_for_longer(tmp_path: Path, upstream_alone: Recorder) -> None:
    upstream, gate = upstream_alone, Gate()
    upstream.script([gate])
    short = settings(upstream, SHUTDOWN_GRACE_SECONDS="0.1")
    with gateways.running(tmp_path, short) as gateway:
        path = create(gateway)
        request = upstream.wait_for(1)
        gateway.terminate()
        assert gateway.process.wait(SOON) == 0
        request.wait_until_left()
    with gateways.running(tmp_path, short) as gateway:
        interrupted = get(gateway, path)
        assert (interrupted["status"], interrupted["cost_estimated"]) == ("interrupted", True)
        assert float(interrupted["cost_usd"]) > 0
    assert len(upstream.requests) == 1
    gate.open()


def test_too_many_that_wait_are_refused(tmp_path: Path, upstream_alone: Recorder) -> None:
    gate = Gate()
    upstream_alone.reply = lambda _: [gate, *answer(body=message())]
    few = settings(upstream_alone, ASYNC_MESSAGE_CONCURRENCY="1", ASYNC_MESSAGE_QUEUE="2")
    with gateways.running(tmp_path, few) as gateway:
        reached(gateway, create(gateway), "running")
        create(gateway)
        create(gateway)
        refused: Answer = gateway.call("POST", PATH, BODY)
        assert refused.status == 429
        assert refused.header("retry-after") is not None
        gate.open()
