"""Scenarios: each fault as a caller meets it."""

import json
import time
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest

import sandbox
from sandbox.scenarios import ACTS, ENDINGS, REFUSALS

STATUS = {
    "400": anthropic.BadRequestError,
    "401": anthropic.AuthenticationError,
    "402": anthropic.PaymentRequiredError,
    "403": anthropic.PermissionDeniedError,
    "404": anthropic.NotFoundError,
    "409": anthropic.ConflictError,
    "413": anthropic.ContentTooLargeError,
    "429": anthropic.RateLimitError,
    "429-no-retry-after": anthropic.RateLimitError,
    "500": anthropic.InternalServerError,
    "503": anthropic.ServiceUnavailableError,
    "504": anthropic.GatewayTimeoutError,
    "529": anthropic.OverloadedError,
    "529-do-not-retry": anthropic.OverloadedError,
}


def body(scenario: str, **change: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Tell me something, please"}]
    return {"model": f"sandbox-{scenario}", "max_tokens": 100, "messages": messages, **change}


def send(http: httpx2.Client, scenario: str, **change: Any) -> httpx2.Response:
    return http.post("/v1/messages", json=body(scenario, **change))


def events(answer: httpx2.Response) -> list[dict[str, Any]]:
    lines = answer.text.splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal_has_its_status_and_type(client: anthropic.Anthropic, name: str) -> None:
    with pytest.raises(STATUS[name]) as caught:
        client.post("/v1/messages", body=body(name), cast_to=object)
    assert caught.value.request_id
    with pytest.raises(STATUS[name]):
        client.models.list(extra_headers={"x-sandbox-scenario": name})


def test_rate_limits_with_and_without_retry_after(http: httpx2.Client) -> None:
    assert send(http, "429").headers["retry-after"] == "1"
    spent = send(http, "429-no-retry-after")
    assert "retry-after" not in spent.headers
    assert spent.json()["error"]["details"]["error_code"] == "enforced_spend_limit_reached"
    assert send(http, "529-do-not-retry").headers["x-should-retry"] == "false"


def test_flaky_answers_every_second_call(base_url: str) -> None:
    with anthropic.Anthropic(base_url=base_url, api_key="any", max_retries=1) as client:
        answer = client.post("/v1/messages", body=body("flaky"), cast_to=httpx2.Response)
    assert answer.status_code == 200


def test_slow(http: httpx2.Client) -> None:
    started = time.monotonic()
    assert send(http, "slow-50ms").status_code == 200
    assert time.monotonic() - started >= 0.05
    started = time.monotonic()
    assert http.get("/v1/models", headers={"x-sandbox-scenario": "slow"}).status_code == 200
    assert time.monotonic() - started >= 0.2


@pytest.mark.parametrize(
    ("name", "first", "last"), [("slow-stream-20ms", 0.0, 0.1), ("silent-150ms", 0.1, 0.1)]
)
def test_paced_streams(http: httpx2.Client, name: str, first: float, last: float) -> None:
    with http.stream("POST", "/v1/messages", json=body(name, stream=True)) as answer:
        times = [time.monotonic() for _ in answer.iter_raw()]
    assert times[1] - times[0] >= first
    assert times[-1] - times[0] >= last


def test_cut_stream(http: httpx2.Client) -> None:
    received = b""
    with http.stream("POST", "/v1/messages", json=body("cut-stream", stream=True)) as answer:
        chunks = answer.iter_raw()
        while b"content_block_delta" not in received:
            received += next(chunks)
        with pytest.raises(httpx2.RemoteProtocolError):
            b"".join(chunks)
    assert b"message_start" in received
    assert b"message_stop" not in received


def test_drop(http: httpx2.Client) -> None:
    with pytest.raises(httpx2.RemoteProtocolError):
        send(http, "drop")


def test_errors_inside_of_streams(http: httpx2.Client) -> None:
    first = events(send(http, "529-first-event", stream=True))
    assert [(event["type"], event["error"]["type"]) for event in first] == [("error", "overloaded_error")]
    pinged = events(send(http, "529-after-ping", stream=True))
    assert [event["type"] for event in pinged] == ["ping", "error"]
    middle = [event["type"] for event in events(send(http, "529-mid-stream", stream=True))]
    assert middle[0] == "message_start"
    assert "content_block_delta" in middle
    assert middle[-1] == "error"


def test_unknown_event(http: httpx2.Client, client: anthropic.Anthropic) -> None:
    assert events(send(http, "unknown-event", stream=True))[1]["type"] == "sandbox_novelty"
    with client.messages.stream(
        model="sandbox-unknown-event", max_tokens=99, messages=[{"role": "user", "content": "Hi"}]
    ) as stream:
        assert stream.get_final_message().stop_reason == "end_turn"


def test_garbage(http: httpx2.Client) -> None:
    bad = send(http, "bad-json")
    assert (bad.status_code, bad.headers["content-type"]) == (200, "application/json")
    with pytest.raises(json.JSONDecodeError):
        bad.json()
    wrong = send(http, "wrong-type")
    assert (wrong.status_code, wrong.headers["content-type"]) == (200, "text/html")


@pytest.mark.parametrize(
    ("name", "stop_reason"),
    [
        ("refusal", "refusal"),
        ("refusal-mid-stream", "refusal"),
        ("pause-turn", "pause_turn"),
        ("context-exceeded", "model_context_window_exceeded"),
    ],
)
def test_endings(http: httpx2.Client, name: str, stop_reason: str) -> None:
    answer = send(http, name).json()
    assert answer["stop_reason"] == stop_reason
    assert answer["model"] == f"sandbox-{name}"
    assert bool(answer["content"]) is (name != "refusal")


def test_every_scenario_is_told_apart(http: httpx2.Client) -> None:
    names = [*REFUSALS, *ACTS, *ENDINGS]
    assert len(set(names)) == len(names)
    assert send(http, "unheard-of").status_code == 404


def test_caller_who_leaves_is_recorded(http: httpx2.Client) -> None:
    for change in ({}, {"stream": True}):
        http.delete("/_sandbox/requests")
        name = "silent-5000ms" if change else "slow-5000ms"
        with pytest.raises(httpx2.ReadTimeout):
            http.post("/v1/messages", json=body(name, **change), timeout=0.2)
        deadline = time.monotonic() + 20
        left = None
        while left is None and time.monotonic() < deadline:
            (record,) = http.get("/_sandbox/requests").json()["requests"]
            left = record["caller_left_after"]
            time.sleep(0.01)
        assert left is not None
        assert 0.1 < left < 5  # the scenario's own time
        assert record["finished_after"] is None


def test_readme_tells_of_every_scenario() -> None:
    table = Path(sandbox.__file__).with_name("README.md").read_text("utf-8").partition("## Scenarios")[2]
    for name in [*REFUSALS, *ACTS, *ENDINGS, "flaky"]:
        assert f"`{name}`" in table
