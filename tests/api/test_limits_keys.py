"""Limits of a key over a real socket, in both dialects: what is let in, what waits, what is refused."""

import http.client
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.conftest import Relay
from tests.support import messages
from tests.support.client import Answer, Client
from tests.support.gateway import SOON, Gateway, eventually
from tests.support.keys import new_key
from tests.support.messages import MODEL
from tests.support.recorder import CLOSE, Gate, Step, answer, head, stream
from tests.support.transcripts import FULL, events

BODY: dict[str, Any] = {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]}
LIMIT_HEADERS = [
    ("anthropic-ratelimit-requests-limit", "4000"),
    ("anthropic-ratelimit-requests-remaining", "9"),
]


def message(output_tokens: int = 5, input_tokens: int = 10, **usage: int) -> list[Step]:
    """An answer with Anthropic's own limits."""
    return messages.message(output_tokens, input_tokens, headers=LIMIT_HEADERS, **usage)


def native(app: Client, **changes: Any) -> Answer:
    return app.call("POST", "/v1/messages", {**BODY, **changes})


def envelope(app: Client) -> Answer:
    return app.call("POST", "/api/v1/messages/create", BODY)


def rejections(relay: Relay, reason: str) -> float:
    return relay.gateway.metrics("anthropic_gateway_rejections_total", reason=reason)


def limit_headers(got: Answer) -> dict[str, str]:
    return {name: value for name, value in got.headers if name.startswith("anthropic-ratelimit-")}


def test_requests_a_minute_in_the_envelope(relay: Relay) -> None:
    _, app = new_key(relay.gateway, "rpm envelope", requests_per_minute=2)
    relay.upstream.reply = lambda _: message()
    before = rejections(relay, "rpm")

    first, second, third = (envelope(app) for _ in range(3))

    assert (first.status, second.status, third.status) == (200, 200, 429)
    assert [got.header("anthropic-ratelimit-requests-remaining") for got in (first, second, third)] == [
        "1",
        "0",
        "0",
    ]
    for got in (first, second, third):
        assert got.header("anthropic-ratelimit-requests-limit") == "2"
        assert str(got.header("anthropic-ratelimit-requests-reset")).endswith("Z")
    assert third.json()["metadata"]["error_type"] == "RateLimitError"
    assert third.json()["error"] == "this key's limit of 2 requests a minute is reached"
    assert 0 < int(third.header("retry-after") or 0) <= 120
    assert len(relay.upstream.requests) == 2
    assert rejections(relay, "rpm") == before + 1


def test_requests_a_minute_in_the_native_dialect(relay: Relay) -> None:
    _, app = new_key(relay.gateway, "rpm native", requests_per_minute=1)
    relay.upstream.reply = lambda _: message()

    passed, refused = native(app), native(app)

    assert limit_headers(passed) == dict(LIMIT_HEADERS)  # Anthropic's own, none of ours among them
    assert refused.status == 429
    assert refused.json()["error"] == {
        "type": "rate_limit_error",
        "message": "this key's limit of 1 requests a minute is reached",
    }
    assert int(refused.header("retry-after") or 0) > 0
    assert limit_headers(refused) == {}


def test_a_key_without_limits_has_no_limit_headers(relay: Relay) -> None:
    relay.upstream.reply = lambda _: message()

    assert limit_headers(envelope(relay.kitchen)) == {}


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/v1/messages/count_tokens"),
        ("GET", "/v1/models"),
        ("GET", "/api/v1/models"),
        ("GET", "/v1/files"),
        ("POST", "/api/v1/files/upload"),
        ("POST", "/v1/messages/batches"),
        ("GET", "/v1/skills"),
        ("GET", "/v1/sessions"),
        ("GET", "/v1/organizations/me"),
    ],
)
def test_whatever_goes_upstream_is_limited(relay: Relay, method: str, target: str) -> None:
    scopes = ["messages", "batches", "models", "files", "skills", "agents", "organization"]
    _, app = new_key(relay.gateway, f"limited {target}", requests_per_minute=1, scopes=scopes)
    app.call("GET", "/v1/models/one")

    assert app.call(method, target, b"" if method == "POST" else None).status == 429
    assert app.call("GET", "/api/v1/usage").status == 200  # which is the gateway's own
    assert len(relay.upstream.requests) == 1


def test_the_refusal_comes_before_the_body(relay: Relay) -> None:
    _, app = new_key(relay.gateway, "before the body", requests_per_minute=1)
    relay.upstream.reply = lambda _: message()
    native(app)

    connection = app.begin(
        "POST", "/v1/messages", None, [("content-type", "application/json"), ("content-length", "30000000")]
    )

    assert connection.getresponse().status == 429
    connection.close()


def test_input_tokens_a_minute_count_what_was_really_used(relay: Relay) -> None:
    _, app = new_key(relay.gateway, "itpm", input_tokens_per_minute=100)
    relay.upstream.reply = lambda _: message(input_tokens=60, cache_read_input_tokens=100_000)
    before = rejections(relay, "itpm")

    assert native(app).status == 200
    refused = native(app)

    assert refused.status == 429
    assert "limit of 100 input tokens a minute" in refused.json()["error"]["message"]
    assert rejections(relay, "itpm") == before + 1
    # Counting costs no tokens.
    counted = {key: value for key, value in BODY.items() if key != "max_tokens"}
    assert app.call("POST", "/v1/messages/count_tokens", counted).status == 200


def test_output_tokens_a_minute(relay: Relay) -> None:
    _, app = new_key(relay.gateway, "otpm", output_tokens_per_minute=50)
    relay.upstream.reply = lambda _: message(output_tokens=51)

    passed, refused = envelope(app), envelope(app)

    assert (passed.status, refused.status) == (200, 429)
    assert passed.header("anthropic-ratelimit-output-tokens-remaining") == "50"
    assert refused.header("anthropic-ratelimit-output-tokens-remaining") == "0"
    assert "limit of 50 output tokens a minute" in refused.json()["error"]


def test_a_prompt_that_upstream_refused_is_given_back(relay: Relay) -> None:
    _, app = new_key(relay.gateway, "given back", input_tokens_per_minute=60)
    relay.upstream.reply = lambda _: answer(400, b'{"type":"error","error":{"type":"invalid_request_error"}}')

    assert [native(app).status for _ in range(5)] == [400] * 5


def test_calls_at_a_time_wait_in_line(relay: Relay) -> None:
    _, app = new_key(relay.gateway, "line", concurrency=1)
    gates = [Gate() for _ in range(3)]
    relay.upstream.script(*([gate, *message()] for gate in gates))
    waits = relay.gateway.metric("anthropic_gateway_queue_wait_seconds_count")

    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(native, app) for _ in range(3)]
        eventually(lambda: relay.gateway.metric("anthropic_gateway_queue_depth") == 2 or None, SOON)
        for number, gate in enumerate(gates, 1):
            relay.upstream.wait_for(number)
            time.sleep(0.05)
            assert len(relay.upstream.requests) == number
            gate.open()
        assert [call.result().status for call in calls] == [200] * 3

    assert relay.gateway.metric("anthropic_gateway_queue_depth") == 0
    assert relay.gateway.metric("anthropic_gateway_queue_wait_seconds_count") == waits + 3


def test_a_full_line_is_refused_and_other_keys_are_not_held_up(relay: Relay) -> None:
    _, app = new_key(relay.gateway, "full line", concurrency=1)
    gate = Gate()
    relay.upstream.script([gate, *message()])
    relay.upstream.reply = lambda _: message()
    refused: list[Answer] = []

    def call() -> None:
        got = native(app)
        if got.status != 200:
            refused.append(got)

    threads = [threading.Thread(target=call) for _ in range(70)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(refused) >= 5 or None, SOON)
    assert native(relay.kitchen).status == 200
    gate.open()
    for thread in threads:
        thread.join()

    assert len(refused) == 5  # one runs, 64 wait
    assert {got.status for got in refused} == {429}
    assert "limit of 1 calls at a time" in refused[0].json()["error"]["message"]
    assert refused[0].header("retry-after") == "1"


def _whole_stream(app: Client) -> None:
    with app.open("POST", "/v1/messages", {**BODY, "stream": True}) as got:
        got.read()


def _hang_up_in_a_stream(app: Client) -> None:
    with app.open("POST", "/v1/messages", {**BODY, "stream": True}) as got:
        got.until(b"message_start")


def _hang_up_while_waiting(app: Client) -> None:
    connection = app.begin("POST", "/v1/messages", BODY)
    time.sleep(0.3)
    connection.close()


def _hang_up_in_the_body(app: Client) -> None:
    fields = [("content-type", "application/json"), ("content-length", "1000")]
    connection = app.begin("POST", "/v1/messages", b'{"model":', fields)
    time.sleep(0.1)
    connection.close()


def _call(app: Client) -> None:
    native(app)


def _wrong_body(app: Client) -> None:
    assert app.call("POST", "/api/v1/messages/create", {"model": 1}).status == 400


@pytest.mark.parametrize(
    ("way", "script"),
    [
        (_whole_stream, stream(events(FULL))),
        (_hang_up_in_a_stream, [*stream(events(FULL))[:2], 20.0]),
        (_hang_up_while_waiting, [20.0, *message()]),
        (_hang_up_in_the_body, message()),
        (_call, answer(529)),
        (_call, [CLOSE]),
        (_call, [head(200, [("content-type", "application/json"), ("content-length", "99")]), b"{", CLOSE]),
        (_call, answer(body=b"no json")),
        (_wrong_body, message()),
    ],
    ids=["stream", "left stream", "left", "left body", "529", "closed", "cut", "garbage", "invalid"],
)
def test_the_place_comes_free_however_a_call_ends(
    relay: Relay, way: Any, script: Sequence[Any], request: pytest.FixtureRequest
) -> None:
    _, app = new_key(relay.gateway, f"free after {request.node.callspec.id}", concurrency=1)
    relay.upstream.script(script)
    before = len(_statuses(relay.gateway))

    try:
        way(app)
    except http.client.HTTPException as cut:
        assert isinstance(cut, http.client.IncompleteRead | http.client.RemoteDisconnected)  # noqa: PT017
    relay.upstream.reset()
    relay.upstream.reply = lambda _: message()

    assert native(app).status == 200
    eventually(lambda: len(_statuses(relay.gateway)) >= before + 2 or None, SOON)
    assert 504 not in _statuses(relay.gateway)[before:]  # it is not the timeout that freed the place


def _statuses(gateway: Gateway) -> list[int]:
    return [line["status_code"] for line in gateway.log() if "status_code" in line]
