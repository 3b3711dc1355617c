"""A request that comes again with its Idempotency-Key gets the answer of the first."""

import json
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anthropic
import pytest

from gateway.content.blobs import PIECE
from gateway.watch import WATCH_AFTER
from tests.conftest import RELAY_SETTINGS, Relay
from tests.support import gateway as gateways
from tests.support.client import Answer
from tests.support.gateway import SOON, eventually
from tests.support.keys import new_key
from tests.support.recorder import CLOSE, Gate, Recorder, answer, stream
from tests.support.transcripts import SHORT, event, events

BODY = {
    "model": "claude-opus-4-5",
    "max_tokens": 5,
    "messages": [{"role": "user", "content": "Hi"}],
}
OTHER_BODY = {**BODY, "max_tokens": 6}
BATCH = {"requests": [{"custom_id": "one", "params": BODY}]}
UPSTREAM_ID = [("request-id", "req_upstream_1"), ("anthropic-organization-id", "org_1")]
LEFT = "anthropic-ratelimit-requests-remaining"
LARGE = b"x" * (PIECE + 1)
"""Content of an answer that is written down before it is whole."""

WHOLE = {
    "messages_create": ("/v1/messages", BODY),
    "create_message": ("/api/v1/messages/create", BODY),
    "messages_batches_create": ("/v1/messages/batches", BATCH),
    "create_batch": ("/api/v1/batches/create", BATCH),
}
STREAMS = {
    "messages_create": ("/v1/messages", {**BODY, "stream": True}),
    "stream_message": ("/api/v1/messages/stream", BODY),
}
REPLAYS = "anthropic_gateway_idempotent_replays_total"
UPLOADS = ("/v1/files", "/api/v1/files/upload")


def new() -> tuple[str, str]:
    return ("idempotency-key", str(uuid.uuid4()))


def message(number: int = 1) -> bytes:
    """A message that no other is like; spaced oddly, as its bytes must survive."""
    return (
        b'{ "id":"msg_%d","type":"message","role":"assistant","model":"claude-sonnet-4-20250514",'
        b'"content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","stop_sequence":null,'
        b'"usage":{"input_tokens":3,"output_tokens":2} }' % number
    )


def replayed(answer: Answer) -> bool:
    return answer.header("idempotency-replayed") == "true"


def same(first: Answer, second: Answer) -> None:
    """The second is the first, said again."""
    assert not replayed(first)
    assert replayed(second)
    assert (second.status, second.body) == (first.status, first.body)
    kept = {"content-type", "request-id", "anthropic-organization-id", "cache-control", "location"}
    for name in kept:
        assert second.header(name) == first.header(name)


@pytest.mark.parametrize(("target", "body"), WHOLE.values(), ids=WHOLE)
def test_a_whole_answer(relay: Relay, target: str, body: dict[str, Any]) -> None:
    relay.upstream.script(answer(body=message(), headers=[*UPSTREAM_ID, (LEFT, "9")]))
    key = new()

    first, second = (relay.gateway.call("POST", target, body, [key]) for _ in range(2))

    assert first.status == 200
    same(first, second)
    assert first.header(LEFT) == (None if target.startswith("/api/") else "9")
    assert second.header(LEFT) is None  # what was left then
    assert first.header("x-request-id") != second.header("x-request-id")
    assert len(relay.upstream.requests) == 1
    assert relay.upstream.requests[0].header("idempotency-key") is None


@pytest.mark.parametrize("kind", ["text/event-stream", "text/event-stream; charset=utf-8"])
@pytest.mark.parametrize(("target", "body"), STREAMS.values(), ids=["native", "envelope"])
def test_a_stream(relay: Relay, target: str, body: dict[str, Any], kind: str) -> None:
    parts = [event(payload) for payload in SHORT]
    relay.upstream.script(stream(*parts, headers=UPSTREAM_ID, kind=kind))
    key = new()

    first, second = (relay.gateway.call("POST", target, body, [key]) for _ in range(2))

    assert first.status == 200
    assert str(first.header("content-type")).startswith("text/event-stream")
    assert b"message_stop" in first.body
    same(first, second)
    assert len(relay.upstream.requests) == 1


def test_a_library_that_connects_again_is_told_to_stop(relay: Relay) -> None:
    relay.upstream.script(stream(events(SHORT)))
    key = new()
    assert relay.gateway.call("POST", "/api/v1/messages/stream", BODY, [key]).status == 200
    again = relay.gateway.call("POST", "/api/v1/messages/stream", BODY, [key, ("last-event-id", "4")])
    assert again.status == 204
    assert len(relay.upstream.requests) == 1


def form(boundary: str, content: bytes = b"content", name: str = "a.txt") -> tuple[bytes, tuple[str, str]]:
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: text/plain\r\n\r\n"
    )
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return body, ("content-type", f"multipart/form-data; boundary={boundary}")


@pytest.mark.parametrize("target", UPLOADS)
def test_an_upload_is_known_by_its_parts(relay: Relay, target: str) -> None:
    made = b'{"id":"file_%s","type":"file"}' % uuid.uuid4().hex.encode()
    relay.upstream.script(answer(body=made))
    key = new()

    def upload(*arguments: Any) -> Answer:
        body, kind = form(*arguments)
        return relay.gateway.call("POST", target, body, [key, kind])

    first = upload("one")
    assert first.status == 200
    same(first, upload("another-boundary"))
    assert upload("one", b"other content").status == 422
    assert upload("one", b"content", "b.txt").status == 422
    assert len(relay.upstream.requests) == 1


@pytest.mark.parametrize(("target", "body"), [*WHOLE.values(), *STREAMS.values()])
def test_another_request_under_the_same_key(relay: Relay, target: str, body: dict[str, Any]) -> None:
    streamed = (target, body) in STREAMS.values()
    relay.upstream.script(stream(events(SHORT)) if streamed else answer(body=message()))
    key = new()
    assert relay.gateway.call("POST", target, body, [key]).status == 200

    other = relay.gateway.call("POST", target, json.dumps(body, indent=1).encode(), [key, JSON])

    assert other.status == 422
    told = other.json()
    assert "another request" in (told["error"]["message"] if "type" in told else told["error"])
    assert len(relay.upstream.requests) == 1


JSON = ("content-type", "application/json")


def test_another_operation_under_the_same_key(relay: Relay) -> None:
    relay.upstream.script(answer(body=message()))
    key = new()
    assert relay.gateway.call("POST", "/v1/messages", BODY, [key]).status == 200
    assert relay.gateway.call("POST", "/api/v1/messages/create", BODY, [key]).status == 422


@pytest.mark.parametrize("target", ["/v1/messages", "/api/v1/messages/create"])
def test_while_the_first_runs(relay: Relay, target: str) -> None:
    gate = Gate()
    relay.upstream.script([gate, *answer(body=message())])
    key = new()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(relay.gateway.call, "POST", target, BODY, [key])
        relay.upstream.wait_for(1)
        second = relay.gateway.call("POST", target, BODY, [key])
        other = relay.gateway.call("POST", target, OTHER_BODY, [key])
        gate.open()
        assert first.result().status == 200

    assert (second.status, second.header("retry-after")) == (409, "1")
    assert other.status == 422
    same(first.result(), relay.gateway.call("POST", target, BODY, [key]))


def test_two_hundred_at_once_make_one_call(relay: Relay) -> None:
    relay.upstream.reply = lambda _: [0.2, *answer(body=message())]
    key = new()
    with ThreadPoolExecutor(50) as pool:
        answers = list(
            pool.map(lambda _: relay.gateway.call("POST", "/v1/messages", BODY, [key]), range(200))
        )

    assert len(relay.upstream.requests) == 1
    statuses = Counter(answer.status for answer in answers)
    assert set(statuses) <= {200, 409}
    assert len({answer.body for answer in answers if answer.status == 200}) == 1
    assert sum(not replayed(answer) for answer in answers if answer.status == 200) == 1


@pytest.mark.parametrize("status", [400, 404, 429, 500, 529])
@pytest.mark.parametrize("target", ["/v1/messages", "/api/v1/messages/create"])
def test_a_refusal_is_no_answer_to_keep(relay: Relay, status: int, target: str) -> None:
    refusal = b'{"type":"error","error":{"type":"invalid_request_error","message":"no"}}'
    no_retry = [("x-should-retry", "false")]
    relay.upstream.script(answer(status, refusal, no_retry), answer(body=message()))
    key = new()
    assert relay.gateway.call("POST", target, OTHER_BODY, [key]).status == status
    again = relay.gateway.call("POST", target, BODY, [key])  # mended, as a 400 asks
    assert (again.status, replayed(again)) == (200, False)


@pytest.mark.parametrize(("target", "body"), STREAMS.values(), ids=["native", "envelope"])
@pytest.mark.parametrize("fault", ["error event", "cut"])
def test_a_broken_stream_is_no_answer_to_keep(
    relay: Relay, target: str, body: dict[str, Any], fault: str
) -> None:
    error = event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    start = event(SHORT[0])
    broken = stream(start, error) if fault == "error event" else [*stream(start)[:-1], CLOSE]
    relay.upstream.script(broken, stream(events(SHORT)))
    key = new()
    first = relay.gateway.call("POST", target, body, [key])
    assert b"message_stop" not in first.body
    second = relay.gateway.call("POST", target, body, [key])
    assert not replayed(second)
    assert b"message_stop" in second.body


def test_a_large_answer_that_breaks_off_leaves_nothing(relay: Relay) -> None:
    relay.upstream.script([*stream(event(SHORT[0]), b": " + LARGE + b"\n\n")[:-1], CLOSE])
    results = relay.gateway.data / "results"
    before = set(results.iterdir()) if results.exists() else set()
    got = relay.gateway.call("POST", "/v1/messages", {**BODY, "stream": True}, [new()])
    assert LARGE in got.body
    eventually(lambda: set(results.iterdir()) == before or None, SOON)


def test_an_answer_that_cannot_be_kept_is_its_callers_all_the_same(relay: Relay) -> None:
    results = relay.gateway.data / "results"
    away = results.rename(results.with_name("away")) if results.exists() else None
    results.touch()  # no folder
    try:
        relay.upstream.reply = lambda _: answer(body=message()[:-1] + b',"text":"%b"}' % LARGE)
        key = new()
        for _ in range(2):
            got = relay.gateway.call("POST", "/v1/messages", BODY, [key])
            assert (got.status, replayed(got)) == (200, False)
            assert LARGE in got.body
    finally:
        results.unlink()
        if away is not None:
            away.rename(results)


def test_a_message_whose_caller_left_runs_again(relay: Relay) -> None:
    gate = Gate()
    relay.upstream.script([gate], answer(body=message()))
    key = new()
    connection = relay.gateway.begin("POST", "/v1/messages", BODY, [key])
    request = relay.upstream.wait_for(1)
    connection.close()
    request.wait_until_left()

    def again() -> Answer | None:
        second = relay.gateway.call("POST", "/v1/messages", BODY, [key])
        return second if second.status == 200 else None

    assert not replayed(eventually(again, SOON))
    gate.open()


@pytest.mark.parametrize("target", ["/v1/messages/batches", "/api/v1/batches/create", *UPLOADS])
def test_what_is_made_goes_on_without_its_caller(relay: Relay, target: str) -> None:
    gate = Gate()
    relay.upstream.script([gate, *answer(body=message())])
    body, kind = form("b") if target in UPLOADS else (BATCH, ("content-type", "application/json"))
    headers = [new(), kind]
    connection = relay.gateway.begin("POST", target, body, headers)
    request = relay.upstream.wait_for(1)
    connection.close()
    assert relay.gateway.call("POST", target, body, headers).status == 409
    time.sleep(WATCH_AFTER * 3)  # while others that hang up are noticed
    assert request.left is None
    gate.open()

    def again() -> Answer | None:
        second = relay.gateway.call("POST", target, body, headers)
        return second if second.status == 200 else None

    assert replayed(eventually(again, SOON))
    assert len(relay.upstream.requests) == 1


def test_an_upload_cut_in_the_middle_frees_its_key(relay: Relay) -> None:
    key = new()
    body, kind = form("b", b"x" * 100_000)
    connection = relay.gateway.begin(
        "POST", "/v1/files", body[:50_000], [key, kind, ("content-length", str(len(body)))]
    )
    connection.close()
    relay.upstream.reply = lambda _: answer(body=b'{"id":"file_1","type":"file"}')

    def again() -> Answer | None:
        second = relay.gateway.call("POST", "/v1/files", body, [key, kind])
        return second if second.status == 200 else None

    assert not replayed(eventually(again, SOON))


def test_each_gateway_key_has_keys_of_its_own(relay: Relay) -> None:
    relay.upstream.script(answer(body=message(1)), answer(body=message(2)))
    key = new()
    mine = relay.gateway.call("POST", "/v1/messages", BODY, [key])
    theirs = relay.kitchen.call("POST", "/v1/messages", BODY, [key])
    assert mine.body == message(1)
    assert theirs.body == message(2)
    assert not replayed(theirs)


@pytest.mark.parametrize("value", ["", "two words", "x" * 256, "stra\xdfe"])
@pytest.mark.parametrize("target", ["/v1/messages", "/api/v1/messages/create"])
def test_a_malformed_key(relay: Relay, target: str, value: str) -> None:
    refused = relay.gateway.call("POST", target, BODY, [("idempotency-key", value)])
    assert refused.status == 400
    assert b"Idempotency-Key" in refused.body
    assert relay.upstream.requests == []


def test_two_keys(relay: Relay) -> None:
    assert relay.gateway.call("POST", "/v1/messages", BODY, [new(), new()]).status == 400


def test_keys_that_an_sdk_makes_by_itself_keep_nothing(relay: Relay) -> None:
    relay.upstream.reply = lambda _: answer(body=message())
    key = ("idempotency-key", f"stainless-python-retry-{uuid.uuid4()}")
    answers = [relay.gateway.call("POST", "/v1/messages", BODY, [key]) for _ in range(2)]
    assert not any(map(replayed, answers))
    assert len(relay.upstream.requests) == 2


def test_the_official_sdk(relay: Relay) -> None:
    relay.upstream.script(answer(body=message()))
    headers = dict([new()])
    with anthropic.Anthropic(api_key=relay.kitchen.key, base_url=relay.gateway.url) as client:
        messages = [client.messages.create(**BODY, extra_headers=headers) for _ in range(2)]
    assert messages[0].to_dict() == messages[1].to_dict()
    assert len(relay.upstream.requests) == 1


def test_a_replay_costs_nothing(relay: Relay) -> None:
    relay.upstream.script(answer(body=message()))
    _, app = new_key(relay.gateway, f"replays {uuid.uuid4()}")
    before = app.call("GET", "/api/v1/usage").json()["data"]["total"]["requests"]
    replays = relay.gateway.metric(REPLAYS)
    key = new()
    for _ in range(3):
        assert app.call("POST", "/v1/messages", BODY, [key]).status == 200
    assert app.call("GET", "/api/v1/usage").json()["data"]["total"]["requests"] == before + 1
    assert relay.gateway.metric(REPLAYS) == replays + 2


def test_over_a_restart_and_a_kill(tmp_path: Path) -> None:
    done, cut = new(), new()
    gate = Gate()
    with Recorder() as upstream:
        settings = RELAY_SETTINGS | {"ANTHROPIC_BASE_URL": upstream.url}
        upstream.script(answer(body=message(1)), [gate], answer(body=message(2)))
        with gateways.running(tmp_path, settings) as gateway:
            first = gateway.call("POST", "/v1/messages", BODY, [done])
            connection = gateway.begin("POST", "/v1/messages", BODY, [cut])
            upstream.wait_for(2)
            gateway.process.kill()
            gateway.process.wait()
            connection.close()
        with gateways.running(tmp_path, settings) as gateway:
            same(first, gateway.call("POST", "/v1/messages", BODY, [done]))
            again = gateway.call("POST", "/v1/messages", BODY, [cut])
            assert (again.body, replayed(again)) == (message(2), False)
            kept = [path.stat().st_mode & 0o777 for path in (gateway.data / "results").iterdir()]
        gate.open()
    assert kept == [0o600, 0o600]
