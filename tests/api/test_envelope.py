"""The envelope: upstream's bytes between our members, its own allowances, its own retries."""

import json
import re

import pytest

from tests.support.gateway import UPSTREAM_KEY, Gateway
from tests.support.recorder import CLOSE, Recorder, Step, answer, head, stream
from tests.support.transcripts import OVERLOADED, PING, SHORT, event, events

MESSAGE = {"model": "claude-sonnet-4-20250514", "messages": [{"role": "user", "content": "Hi"}]}
ENVELOPE = re.compile(
    rb'\{"success":true,"data":(?P<data>.*),"metadata":\{"request_id":"(?P<id>[^"]+)",'
    rb'"processing_time_ms":(?P<ms>\d+),"upstream_request_id":(?P<upstream>"[^"]+"|null)\}\}',
    re.DOTALL,
)
ODD_JSON = [
    b'{"id":"msg_1","n":1.10,"e":1E5,"big":123456789012345678901234567890,"u":"\\u00e9\xc3\xa9","s":"\\/"}',
    b' {\n  "type" : "message",\r\n\t"content": [ ] }',
    b'{"z":1,"a":2,"z2":{"success":false,"metadata":{}}}',
]


@pytest.mark.parametrize("data", ODD_JSON)
def test_upstreams_bytes_are_spliced_in(gateway: Gateway, upstream: Recorder, data: bytes) -> None:
    upstream.script(answer(body=data + b"\n", headers=[("request-id", "req_upstream")]))

    got = gateway.call("POST", "/api/v1/messages/create", MESSAGE)

    assert got.status == 200
    assert got.header("content-type") == "application/json"
    found = ENVELOPE.fullmatch(got.body)
    assert found is not None, got.body
    assert found["data"] == data.strip()
    assert found["upstream"] == b'"req_upstream"'
    assert found["id"].decode() == got.header("x-request-id")
    assert got.json()["success"] is True


def test_processing_time(gateway: Gateway, upstream: Recorder) -> None:
    upstream.script([0.3, *answer()])

    metadata = gateway.call("POST", "/api/v1/messages/create", MESSAGE).json()["metadata"]

    assert 300 <= metadata["processing_time_ms"] < 3000
    assert metadata["upstream_request_id"] is None


@pytest.mark.parametrize(
    ("method", "target", "body", "sent"),
    [
        ("POST", "/api/v1/messages/create", {**MESSAGE, "max_tokens": 5}, "POST /v1/messages"),
        ("POST", "/api/v1/messages/count-tokens", MESSAGE, "POST /v1/messages/count_tokens"),
        ("GET", "/api/v1/models", None, "GET /v1/models?limit=20"),
        ("GET", "/api/v1/models/a%2Fb", None, "GET /v1/models/a%2Fb"),
        (
            "GET",
            "/api/v1/batches?limit=7&after_id=a%26b",
            None,
            "GET /v1/messages/batches?limit=7&after_id=a%26b",
        ),
        ("GET", "/api/v1/batches/b", None, "GET /v1/messages/batches/b"),
        ("POST", "/api/v1/batches/b/cancel", None, "POST /v1/messages/batches/b/cancel"),
        ("DELETE", "/api/v1/batches/b", None, "DELETE /v1/messages/batches/b"),
        ("GET", "/api/v1/files?limit=5&page=p", None, "GET /v1/files?limit=5&page=p"),
        ("GET", "/api/v1/files/f", None, "GET /v1/files/f"),
        ("DELETE", "/api/v1/files/f", None, "DELETE /v1/files/f"),
        ("GET", "/api/v1/skills/s", None, "GET /v1/skills/s"),
        ("DELETE", "/api/v1/skills/s", None, "DELETE /v1/skills/s"),
        ("GET", "/api/v1/skills/s/versions/1", None, "GET /v1/skills/s/versions/1"),
        ("DELETE", "/api/v1/skills/s/versions/1", None, "DELETE /v1/skills/s/versions/1"),
    ],
)
def test_native_operation_behind_each_call(
    gateway: Gateway, upstream: Recorder, method: str, target: str, body: dict[str, object] | None, sent: str
) -> None:
    got = gateway.call(method, target, body)

    assert got.status == 200, got.body
    assert f"{upstream.only.method} {upstream.only.target}" == sent
    if body is not None:
        assert upstream.only.json() == body


def test_older_version_unless_the_caller_names_one(gateway: Gateway, upstream: Recorder) -> None:
    """Later versions refuse temperature, top_p and top_k."""
    for headers, expected in (([], "2023-06-01"), ([("anthropic-version", "2026-10-21")], "2026-10-21")):
        upstream.reset()
        gateway.call("POST", "/api/v1/messages/create", {**MESSAGE, "temperature": 0.7}, headers)
        assert upstream.only.header("anthropic-version") == expected
        assert upstream.only.json()["temperature"] == 0.7


def test_betas_and_credential(gateway: Gateway, upstream: Recorder) -> None:
    headers = [("anthropic-beta", "a-1,b-2"), ("anthropic-beta", "c-3"), ("cookie", "a=b")]

    gateway.call("POST", "/api/v1/messages/create", MESSAGE, headers)

    assert upstream.only.header("anthropic-beta") == "a-1,b-2, c-3"
    assert upstream.only.header("cookie") is None
    assert gateway.key is not None
    assert gateway.key.encode() not in upstream.only.head
    assert UPSTREAM_KEY.encode() in upstream.only.head


ALLOWANCES = [
    (
        b'{"model":"m", "messages":[{"role":"user","content":"\\u00e9  x"}] }',
        b'{"max_tokens":1024,"model":"m", "messages":[{"role":"user","content":"\\u00e9  x"}] }',
    ),
    (
        b'{"model":"m","max_tokens":7,"messages":[{"role":"user","content":"x"}],'
        b'"tool_choice" : "auto" ,"top_k":3}',
        b'{"model":"m","max_tokens":7,"messages":[{"role":"user","content":"x"}],'
        b'"tool_choice" : {"type":"auto"} ,"top_k":3}',
    ),
    (
        b'{"model":"m","max_tokens":7,"messages":[{"role":"user","content":"x"}],"stream":false}',
        b'{"model":"m","max_tokens":7,"messages":[{"role":"user","content":"x"}],"stream":false}',
    ),
]


@pytest.mark.parametrize(("sent", "expected"), ALLOWANCES)
def test_allowances_change_nothing_else(
    gateway: Gateway, upstream: Recorder, sent: bytes, expected: bytes
) -> None:
    got = gateway.call("POST", "/api/v1/messages/create", sent, [("content-type", "application/json")])

    assert got.status == 200, got.body
    assert upstream.only.body == expected


def test_allowances_inside_batches(gateway: Gateway, upstream: Recorder) -> None:
    sent = (
        b'{"requests" :[ {"custom_id":"a","params":{"model":"m","messages":[{"role":"user","content":"x"}],'
        b'"tool_choice":"any"}}, {"params": {"model":"m","max_tokens":5,'
        b'"messages":[{"role":"user","content":"x"}]},"custom_id":"b"}]}'
    )
    expected = sent.replace(b'"params":{', b'"params":{"max_tokens":1024,').replace(
        b'"any"', b'{"type":"any"}'
    )

    got = gateway.call("POST", "/api/v1/batches/create", sent, [("content-type", "application/json")])

    assert got.status == 200, got.body
    assert upstream.only.body == expected


def test_results_url_leads_to_the_envelope(gateway: Gateway, upstream: Recorder) -> None:
    batch = b'{"id":"b","results_url":"https://api.anthropic.com/v1/messages/batches/b/results"}'
    upstream.script(answer(body=b'{"data":[%b]}' % batch))

    got = gateway.call("GET", "/api/v1/batches")

    (item,) = got.json()["data"]["data"]
    assert item["results_url"] == f"{gateway.url}/api/v1/batches/b/results"


@pytest.mark.parametrize("pieces", [1, 7, 10_000])
def test_results_as_a_list(gateway: Gateway, upstream: Recorder, pieces: int) -> None:
    lines = b'{"custom_id":"a","n":1.0}\r\n\n{"custom_id":"\\u00fc"}\n{"custom_id":"c"}'
    cut = [lines[at : at + pieces] for at in range(0, len(lines), pieces)]
    upstream.script(stream(*cut, kind="application/x-jsonl"))

    got = gateway.call("GET", "/api/v1/batches/b/results")

    found = ENVELOPE.fullmatch(got.body)
    assert found is not None, got.body
    assert json.loads(found["data"]) == [{"custom_id": "a", "n": 1.0}, {"custom_id": "ü"}, {"custom_id": "c"}]


def test_no_results(gateway: Gateway, upstream: Recorder) -> None:
    upstream.script(answer(body=b"", kind="application/x-jsonl"))

    assert gateway.call("GET", "/api/v1/batches/b/results").json()["data"] == []


def test_results_as_lines(gateway: Gateway, upstream: Recorder) -> None:
    lines = b'{"custom_id":"a","n":1.0}\n{"custom_id":"b"}\n'
    upstream.script(answer(body=lines, kind="application/x-jsonl"))

    got = gateway.call("GET", "/api/v1/batches/b/results", headers=[("accept", "application/x-jsonl")])

    assert got.body == lines
    assert got.header("content-type") == "application/x-jsonl"


UPLOAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n--b--\r\n'
MULTIPART = [("content-type", "multipart/form-data; boundary=b")]


def test_upload(gateway: Gateway, upstream: Recorder) -> None:
    upstream.script(answer(body=b'{"id":"file_1"}'))

    got = gateway.call("POST", "/api/v1/files/upload", UPLOAD, MULTIPART)

    assert got.json()["data"] == {"id": "file_1"}
    assert upstream.only.target == "/v1/files"
    assert upstream.only.body == UPLOAD
    assert upstream.only.header("content-type") == MULTIPART[0][1]


def test_download(gateway: Gateway, upstream: Recorder) -> None:
    upstream.script(answer(body=b"\x00\xff", kind="application/pdf"))

    got = gateway.call("GET", "/api/v1/files/f/content")

    assert (got.body, got.header("content-type")) == (b"\x00\xff", "application/octet-stream")
    assert got.header("content-length") == "2"


def test_generated_clients_ask_for_json_wherever_an_error_may_come(
    gateway: Gateway, upstream: Recorder
) -> None:
    upstream.script(answer(body=b"bytes", kind="application/octet-stream"))

    got = gateway.call("GET", "/api/v1/files/f/content", headers=[("accept", "application/json")])

    assert (got.status, got.body) == (200, b"bytes")


SOON = [("retry-after-ms", "1")]
RETRIED: dict[str, list[Step]] = {
    "408": answer(408, headers=SOON),
    "409": answer(409, headers=SOON),
    "429 with retry-after": answer(429, headers=[("retry-after", "0.01")]),
    "429 with retry-after-ms": answer(429, headers=SOON),
    "500": answer(500, headers=SOON),
    "529": answer(529, headers=SOON),
    "400 that says so": answer(400, headers=[("x-should-retry", "true"), *SOON]),
}
FINAL: dict[str, list[Step]] = {
    "200 that says otherwise": answer(200, headers=[("x-should-retry", "true"), *SOON]),
    "400": answer(400, headers=SOON),
    "404": answer(404, headers=SOON),
    "429 without retry-after, a spend cap": answer(429),
    "429 without retry-after, whatever it says": answer(429, headers=[("x-should-retry", "true")]),
    "429 that says so": answer(429, headers=[("x-should-retry", "false"), *SOON]),
    "529 that says so": answer(529, headers=[("x-should-retry", "false"), *SOON]),
}


@pytest.mark.parametrize("failure", RETRIED.values(), ids=RETRIED)
@pytest.mark.parametrize("name", ["create", "stream"])
def test_tried_again(gateway: Gateway, upstream: Recorder, name: str, failure: list[Step]) -> None:
    good = answer(body=b'{"id":"msg"}') if name == "create" else stream(events(SHORT))
    upstream.script(failure, failure, good)

    got = gateway.call("POST", f"/api/v1/messages/{name}", MESSAGE)

    assert got.status == 200
    assert len(upstream.requests) == 3
    assert len({request.body for request in upstream.requests}) == 1


@pytest.mark.parametrize("failure", FINAL.values(), ids=FINAL)
@pytest.mark.parametrize("name", ["create", "stream"])
def test_not_tried_again(gateway: Gateway, upstream: Recorder, name: str, failure: list[Step]) -> None:
    upstream.script(failure)

    got = gateway.call("POST", f"/api/v1/messages/{name}", MESSAGE)

    assert got.status == int(failure[0].split(b" ")[1])  # type: ignore[union-attr]
    assert len(upstream.requests) == 1


def test_tries_come_to_an_end(gateway: Gateway, upstream: Recorder) -> None:
    """ANTHROPIC_MAX_RETRIES is 2, and the last answer is the one that counts."""
    upstream.reply = lambda _: answer(529, b'{"type":"error","error":{"message":"busy"}}', headers=SOON)
    before = gateway.metric('anthropic_gateway_retries_total{reason="529"}')

    got = gateway.call("POST", "/api/v1/messages/create", MESSAGE)

    assert (got.status, got.json()["error"]) == (529, "busy")
    assert got.json()["metadata"]["error_type"] == "OverloadedError"
    assert got.header("retry-after-ms") == "1"
    assert len(upstream.requests) == 3
    assert gateway.metric('anthropic_gateway_retries_total{reason="529"}') == before + 2


def test_half_a_surrogate_pair_in_upstreams_message(gateway: Gateway, upstream: Recorder) -> None:
    """A text that was cut to a length: JSON can say it, UTF-8 cannot."""
    upstream.script(answer(400, rb'{"type":"error","error":{"message":"not allowed: cut \ud83d"}}'))

    got = gateway.call("POST", "/api/v1/messages/create", MESSAGE)

    assert (got.status, got.json()["error"]) == (400, "not allowed: cut ?")


def test_dropped_connection_is_tried_again(gateway: Gateway, upstream: Recorder) -> None:
    upstream.script([CLOSE], answer(body=b'{"id":"msg"}'))

    assert gateway.call("POST", "/api/v1/messages/create", MESSAGE).status == 200


@pytest.mark.parametrize(
    "prelude", [b"", event(PING), b": comment\n\n"], ids=["first", "after a ping", "after a comment"]
)
def test_error_as_first_event_is_tried_again(gateway: Gateway, upstream: Recorder, prelude: bytes) -> None:
    upstream.script(stream(prelude + event(OVERLOADED), headers=SOON), stream(events(SHORT)))

    got = gateway.call("POST", "/api/v1/messages/stream", MESSAGE)

    assert got.status == 200
    assert b'"message_stop"' in got.body
    assert b"overloaded" not in got.body
    assert len(upstream.requests) == 2


def test_nothing_is_tried_again_after_the_first_byte(gateway: Gateway, upstream: Recorder) -> None:
    upstream.script([*stream(events(SHORT[:3]))[:-1], CLOSE])

    got = gateway.call("POST", "/api/v1/messages/stream", MESSAGE)

    assert got.status == 200
    assert len(upstream.requests) == 1


def test_half_an_answer_is_not_asked_for_again(gateway: Gateway, upstream: Recorder) -> None:
    """Upstream has done the work, and would be paid twice."""
    upstream.script([head(200, [("content-length", "50")]) + b'{"id":"msg', CLOSE])

    got = gateway.call("POST", "/api/v1/messages/create", MESSAGE)

    assert got.status == 502
    assert len(upstream.requests) == 1


def test_reconnecting_is_never_paid(gateway: Gateway, upstream: Recorder) -> None:
    """Libraries that POST an EventSource post again after each end; 204 ends that."""
    for last in ("7", ""):
        got = gateway.call("POST", "/api/v1/messages/stream", MESSAGE, [("last-event-id", last)])
        assert (got.status, got.body) == (204, b"")
    assert upstream.requests == []
