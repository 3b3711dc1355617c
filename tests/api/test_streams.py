"""Server-sent events in both dialects, from an upstream that sends them in every possible way."""

import json
import socket
import time
from typing import Any

import anthropic
import pytest

from tests.conftest import RELAY_TIMEOUT, Relay
from tests.support.client import Answer, Client
from tests.support.gateway import ADMIN_KEY, Gateway
from tests.support.recorder import CLOSE, Gate, Recorder, Step, answer, head, stream
from tests.support.transcripts import FALLBACK, FULL, OVERLOADED, PING, SHORT, START, Event, event, events

MESSAGE = {
    "model": "claude-sonnet-4-20250514",
    "max_tokens": 5,
    "stream": True,
    "messages": [{"role": "user", "content": "Hi"}],
}
NATIVE, ENVELOPE = "/v1/messages", "/api/v1/messages/stream"
BOTH = pytest.mark.parametrize("target", [NATIVE, ENVELOPE], ids=["native", "envelope"])

FULL_BYTES = events(FULL)
ODD_STREAMS = {
    "as it is": FULL_BYTES,
    "CRLF": FULL_BYTES.replace(b"\n", b"\r\n"),
    "CR": FULL_BYTES.replace(b"\n", b"\r"),
    "comments": b": hello\n\n" + FULL_BYTES.replace(b"event: ping", b": ping\nevent: ping"),
    "no space": FULL_BYTES.replace(b"data: ", b"data:").replace(b"event: ", b"event:"),
    "ids and retry": FULL_BYTES.replace(b"event: ping", b"id: 7\nretry: 10\nevent: ping"),
    "unknown event": FULL_BYTES + event({"type": "novelty", "deep": {"n": 1.10}}),
    "no event": b"",
}


def frames(body: bytes) -> list[tuple[int, Any]]:
    """The envelope's frames as numbers and payloads; fails when one is not as the envelope writes them."""
    found = []
    for frame in body.split(b"\n\n")[:-1]:
        number, *data = frame.split(b"\n")
        assert number.startswith(b"id: "), frame
        assert all(line.startswith(b"data: ") for line in data), frame
        found.append((int(number[4:]), json.loads(b"\n".join(line[6:] for line in data))))
    assert body == b"" or body.endswith(b"\n\n")
    return found


def payloads(got: Answer) -> list[Any]:
    numbered = frames(got.body)
    assert [number for number, _ in numbered] == list(range(1, len(numbered) + 1))
    return [payload for _, payload in numbered]


@BOTH
def test_http_1_0_gets_the_same_bytes_without_chunks(
    gateway: Gateway, upstream: Recorder, target: str
) -> None:
    """A proxy in front may speak it, nginx unless it is told otherwise; each piece comes at once."""
    begun = next(at for at, each in enumerate(FULL) if each["type"] == "content_block_delta")
    first, last = events(FULL[:begun]), events(FULL[begun:])
    gate, body = Gate(), json.dumps(MESSAGE).encode()
    upstream.script(stream(first, last))
    whole = gateway.call("POST", target, MESSAGE)
    upstream.script(stream(first, gate, last))
    lines = [
        f"POST {target} HTTP/1.0",
        f"x-api-key: {ADMIN_KEY}",
        "content-type: application/json",
        f"content-length: {len(body)}",
    ]
    with socket.create_connection(gateway.address, RELAY_TIMEOUT) as sock, sock.makefile("rb") as came:
        sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        head = [line.strip() for line in iter(came.readline, b"\r\n")]
        before = whole.body[: whole.body.rindex(b"\n\n", 0, whole.body.index(b"content_block_delta")) + 2]
        assert came.read(len(before)) == before
        gate.open()
        assert before + came.read() == whole.body
    assert head[0] == b"HTTP/1.1 200 OK"
    assert b"connection: close" in head
    assert not [line for line in head if line.startswith((b"transfer-encoding", b"content-length"))]


@pytest.mark.parametrize("body", ODD_STREAMS.values(), ids=ODD_STREAMS)
@pytest.mark.parametrize("piece", [1, 13, 100_000])
def test_native_is_byte_exact(gateway: Gateway, upstream: Recorder, body: bytes, piece: int) -> None:
    pieces = [body[at : at + piece] for at in range(0, len(body), piece)]
    upstream.script(
        stream(*pieces, kind="text/event-stream; charset=utf-8", headers=[("request-id", "req_u")])
    )

    got = gateway.call("POST", NATIVE, MESSAGE)

    assert (got.status, got.body) == (200, body)
    assert got.header("content-type") == "text/event-stream; charset=utf-8"
    assert got.header("request-id") == "req_u"
    assert got.header("cache-control") == "no-cache"
    assert got.header("x-accel-buffering") == "no"
    assert got.header("content-encoding") is None


def expected_frames(stream_events: list[Event]) -> list[Event]:
    """Each event, a text frame after each text delta; the last one without its message."""
    found = []
    for payload in stream_events:
        found.append(payload)
        if payload.get("delta", {}).get("type") == "text_delta":
            found.append({"type": "text", "text": payload["delta"]["text"]})
    return found


@pytest.mark.parametrize("name", [name for name in ODD_STREAMS if name != "no event"])
@pytest.mark.parametrize("piece", [1, 13, 100_000])
def test_envelope_says_each_event(gateway: Gateway, upstream: Recorder, name: str, piece: int) -> None:
    body = ODD_STREAMS[name]
    upstream.script(stream(*(body[at : at + piece] for at in range(0, len(body), piece))))

    got = gateway.call("POST", ENVELOPE, MESSAGE)

    assert got.status == 200
    assert got.header("content-type") == "text/event-stream"
    assert got.header("cache-control") == "no-cache"
    assert got.header("x-accel-buffering") == "no"
    found = payloads(got)
    stop = next(payload for payload in found if payload["type"] == "message_stop")
    message = stop.pop("message")
    novelty = [{"type": "novelty", "deep": {"n": 1.1}}] if name == "unknown event" else []
    assert found == [*expected_frames(FULL), *novelty]
    assert message["stop_reason"] == "tool_use"
    assert message["usage"]["output_tokens"] == 89


@pytest.mark.parametrize("told", [FULL, FALLBACK], ids=["full", "fallback"])
def test_the_whole_message_is_what_the_sdk_puts_together(relay: Relay, told: list[Event]) -> None:
    relay.upstream.script(stream(events(told)), stream(events(told)))
    client = anthropic.Anthropic(base_url=relay.gateway.url, api_key=relay.gateway.key)
    body = {**MESSAGE, "model": "claude-opus-5"}
    del body["stream"]
    with client, client.beta.messages.stream(**body) as theirs:  # type: ignore[arg-type]
        expected = theirs.get_final_message().to_dict()

    got = relay.gateway.call("POST", ENVELOPE, MESSAGE)

    message = payloads(got)[-1]["message"]
    for block in expected["content"]:  # type: ignore[attr-defined]
        block.pop("parsed_output", None)  # the SDK's own addition
    expected.pop("stop_details")  # set to None by the SDK where the stream says nothing of it
    assert message == expected


def test_upstream_is_asked_for_a_stream(gateway: Gateway, upstream: Recorder) -> None:
    for sent, expected in (
        (
            b'{"model":"m","messages":[{"role":"user","content":"x"}]}',
            b'{"max_tokens":1024,"stream":true,"model"',
        ),
        (
            b'{"stream" : false,"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}]}',
            b'{"stream" : true,"m',
        ),
        (
            b'{"stream":true,"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}]}',
            b'{"stream":true,"m',
        ),
    ):
        upstream.reset()
        upstream.script(stream(events(SHORT)))
        got = gateway.call("POST", ENVELOPE, sent, [("content-type", "application/json")])
        assert got.status == 200, got.body
        assert upstream.only.body.startswith(expected)


def test_each_chunk_passes_at_once(gateway: Gateway, upstream: Recorder) -> None:
    """Head with the first event, then every event when it comes, in both dialects."""
    for target in (NATIVE, ENVELOPE):
        first, second = event(START), event(PING)
        gates = Gate(), Gate()
        upstream.script(stream(first, gates[0], second, gates[1], events(SHORT[1:])))
        with gateway.open("POST", target, MESSAGE) as got:
            assert b"message_start" in got.chunk()
            gates[0].open()
            assert b"ping" in got.until(b"ping")
            gates[1].open()
            assert b"message_stop" in got.until(b"message_stop")


ERRORS = {
    "overloaded_error": 529,
    "api_error": 500,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "invalid_request_error": 400,
    "novel_error": 500,
}


@pytest.mark.parametrize(("kind", "status"), ERRORS.items())
@pytest.mark.parametrize("prelude", [b"", b": x\n\n" + event(PING) * 2], ids=["first", "after pings"])
def test_error_as_first_event_is_a_real_status_on_native(
    gateway: Gateway, upstream: Recorder, prelude: bytes, kind: str, status: int
) -> None:
    error = {"type": "error", "error": {"type": kind, "message": "Grüße"}, "request_id": "req_u", "novel": 1}
    upstream.script(stream(prelude, event(error), headers=[("request-id", "req_u"), ("retry-after", "3")]))

    got = gateway.call("POST", NATIVE, MESSAGE)

    assert (got.status, got.json()) == (status, error)
    assert got.header("content-type") == "application/json"
    assert got.header("request-id") == "req_u"
    assert got.header("retry-after") == "3"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(("kind", "status"), ERRORS.items())
def test_error_as_first_event_is_a_real_status_on_the_envelope(
    gateway: Gateway, upstream: Recorder, kind: str, status: int
) -> None:
    error = {"type": "error", "error": {"type": kind, "message": "Grüße"}}
    upstream.reply = lambda _: stream(event(error), headers=[("x-should-retry", "false")])

    got = gateway.call("POST", ENVELOPE, MESSAGE)

    assert got.status == status
    assert got.json()["success"] is False
    assert got.json()["error"] == "Grüße"


def test_an_error_as_first_event_with_half_a_surrogate_pair(relay: Relay) -> None:
    """A text that was cut to a length: JSON can say it, UTF-8 cannot."""
    error = rb'{"type": "error", "error": {"type": "invalid_request_error", "message": "cut \ud83d"}}'
    first = b"event: error\ndata: %b\n\n" % error
    relay.upstream.script(stream(first), stream(first))

    native = relay.gateway.call("POST", NATIVE, MESSAGE)
    envelope = relay.gateway.call("POST", ENVELOPE, MESSAGE)

    assert (native.status, native.body) == (400, error)
    assert (envelope.status, envelope.json()["error"]) == (400, "cut ?")


def test_error_in_mid_stream(relay: Relay) -> None:
    begin, rest = events(SHORT[:3]), event(OVERLOADED)
    relay.upstream.script(stream(begin, rest), stream(begin, rest))

    native = relay.gateway.call("POST", NATIVE, MESSAGE)
    envelope = relay.gateway.call("POST", ENVELOPE, MESSAGE)

    assert native.body == begin + rest
    *_, last = payloads(envelope)
    assert last == {**OVERLOADED, "request_id": envelope.header("x-request-id")}
    line = relay.gateway.request_line(native.header("x-request-id"))
    assert line["status_code"] == 200


CUT_AT = {"between two events": len(events(SHORT[:3])), "inside an event": len(events(SHORT[:3])) + 20}


@pytest.mark.parametrize("cut", CUT_AT.values(), ids=CUT_AT)
@pytest.mark.parametrize("ending", ["reset", "clean end"])
def test_cut_stream(gateway: Gateway, upstream: Recorder, cut: int, ending: str) -> None:
    """The caller is told, on native unless upstream itself ended the stream as if nothing were wrong."""
    part = events(SHORT)[:cut]
    steps: list[Step] = stream(part) if ending == "clean end" else [*stream(part)[:-1], CLOSE]
    upstream.script(steps, steps)
    aborts = "anthropic_gateway_stream_aborts_total"
    before = gateway.metrics(aborts, side="upstream")

    native = gateway.call("POST", NATIVE, MESSAGE)
    envelope = gateway.call("POST", ENVELOPE, MESSAGE)

    assert gateway.metrics(aborts, side="upstream") == before + 2
    *_, last = payloads(envelope)
    assert last["type"] == "error"
    assert last["error"]["type"] == "api_error"
    assert last["request_id"] == envelope.header("x-request-id")
    assert native.body.startswith(part)
    told = native.body[len(part) :]
    if ending == "clean end":
        assert told == b""
    else:
        name, data = told.strip().split(b"\n")
        assert name == b"event: error"
        assert json.loads(data.removeprefix(b"data: "))["error"]["type"] == "api_error"
        # A broken event is no event of its own: the SDKs would read its data.
        begun = b"\n" if cut == CUT_AT["inside an event"] else b""
        assert told == begun + told.lstrip(b"\n")
    line = gateway.request_line(native.header("x-request-id"))
    assert (line["status_code"], line["input_tokens"]) == (200, 25)


@BOTH
def test_a_stream_may_last_longer_than_the_timeout(gateway: Gateway, upstream: Recorder, target: str) -> None:
    """ANTHROPIC_TIMEOUT bounds the silence of a stream, not its length."""
    pings = [part for _ in range(5) for part in (event(PING), RELAY_TIMEOUT / 4)]
    upstream.script(stream(event(START), *pings, events(SHORT[1:])))

    assert b"message_stop" in gateway.call("POST", target, MESSAGE).body


@BOTH
def test_a_stream_that_falls_silent_ends_with_an_error(
    gateway: Gateway, upstream: Recorder, target: str
) -> None:
    upstream.script(stream(event(START), RELAY_TIMEOUT + 1, events(SHORT[1:])))
    begun = time.monotonic()

    got = gateway.call("POST", target, MESSAGE)

    assert time.monotonic() - begun > RELAY_TIMEOUT - 0.5
    assert got.status == 200
    assert got.body.endswith(b"\n\n")
    last = json.loads(got.body.strip().rpartition(b"data: ")[2])
    assert (last["type"], last["error"]["type"]) == ("error", "timeout_error")
    assert upstream.only.wait_until_left() > begun


def test_a_stream_without_first_byte(gateway: Gateway, upstream: Recorder) -> None:
    """The held first event counts as silence too: 504, a real status."""
    upstream.script(stream(event(PING), RELAY_TIMEOUT + 1))

    assert gateway.call("POST", NATIVE, MESSAGE).status == 504


def test_json_for_a_stream(gateway: Gateway, upstream: Recorder) -> None:
    """An upstream that answers with JSON all the same."""
    body = b'{"id":"msg_1","type":"message"}'
    upstream.script(answer(body=body), answer(400, b'{"error":{"message":"no"}}'))

    assert gateway.call("POST", NATIVE, MESSAGE).body == body
    refused = gateway.call("POST", ENVELOPE, MESSAGE)
    assert (refused.status, refused.json()["error"]) == (400, "no")
    upstream.script(answer(400, b'{"error":{"type":"invalid_request_error"}}'))
    untold = gateway.call("POST", ENVELOPE, MESSAGE)
    assert (untold.status, untold.json()["error"]) == (400, "upstream answered with status 400")


def test_an_error_that_looks_like_a_stream(gateway: Gateway, upstream: Recorder) -> None:
    failure = stream(event(OVERLOADED), status=400)
    upstream.script(failure, failure)

    native = gateway.call("POST", NATIVE, MESSAGE)
    assert (native.status, native.body) == (400, event(OVERLOADED))
    refused = gateway.call("POST", ENVELOPE, MESSAGE)
    assert (refused.status, refused.json()["error"]) == (400, "upstream answered with status 400")


def test_session_events_pass_as_they_come(gateway: Gateway, upstream: Recorder) -> None:
    """Other event streams are not messages: nothing is held, nothing is read."""
    error_first = event({"type": "error", "error": {"type": "overloaded_error", "message": "x"}})
    upstream.script(stream(error_first, 0.2, b"event: x\nid: 3\ndata: {}\n\n"))

    got = gateway.call("GET", "/v1/sessions/s/events/stream", headers=[("accept", "text/event-stream")])

    assert (got.status, got.body) == (200, error_first + b"event: x\nid: 3\ndata: {}\n\n")


def test_usage_in_the_log(gateway: Gateway, upstream: Recorder) -> None:
    upstream.script(stream(FULL_BYTES), stream(FULL_BYTES))
    for target in (NATIVE, ENVELOPE):
        got = gateway.call("POST", target, MESSAGE)
        line = gateway.request_line(got.header("x-request-id"))
        assert line["input_tokens"] == 25
        assert line["output_tokens"] == 89
        assert line["cache_read_input_tokens"] == 7
        assert line["cache_creation_input_tokens"] == 3
        assert line["model"] == "claude-sonnet-4-20250514"


@BOTH
def test_the_model_that_a_stream_falls_back_to_is_the_one_that_answered(
    gateway: Gateway, upstream: Recorder, target: str
) -> None:
    """As it is where the answer comes whole: there the message names the model that wrote its end."""
    upstream.script(stream(events(FALLBACK)))

    got = gateway.call("POST", target, MESSAGE)

    assert gateway.request_line(got.header("x-request-id"))["model"] == "claude-haiku-4-5-20251001"


GARBAGE: dict[str, bytes] = {
    "chunk size that is no number": b"zz\r\nabc\r\n",
    "chunk longer than its size": b"3\r\nabcdefgh\r\n0\r\n\r\n",
    "no line end after a chunk": b"3\r\nabc0\r\n\r\n",
    "endless chunk size": b"1" * 100 + b"\r\n",
}


@BOTH
@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_framing_that_breaks_in_mid_stream(
    gateway: Gateway, upstream: Recorder, garbage: bytes, target: str
) -> None:
    """It ends at once and says so, rather than wait for bytes that can never come."""
    upstream.script([*stream(events(SHORT[:3]))[:-1], 0.1, garbage, RELAY_TIMEOUT * 2])
    begun = time.monotonic()

    got = gateway.call("POST", target, MESSAGE)

    assert time.monotonic() - begun < RELAY_TIMEOUT - 0.5
    last = json.loads(got.body.strip().rpartition(b"data: ")[2])
    assert (last["type"], last["error"]["type"]) == ("error", "api_error")


def test_close_delimited_stream(gateway: Gateway, upstream: Recorder) -> None:
    start = head(200, [("content-type", "text/event-stream"), ("connection", "close")])
    upstream.script([start, events(SHORT), CLOSE])

    assert gateway.call("POST", NATIVE, MESSAGE).body == events(SHORT)


def test_one_after_the_other_on_pooled_connections(gateway: Gateway, upstream: Recorder) -> None:
    """A stream that is read to its end gives its connection back in a good state."""
    client = Client(gateway.url, gateway.key)
    for _ in range(10):
        upstream.script(stream(events(SHORT)))
        assert client.call("POST", NATIVE, MESSAGE).body == events(SHORT)
