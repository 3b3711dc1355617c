"""Event streams, cut at every possible place."""

import json
from typing import Any

import pytest

from gateway.sse import EnvelopeStream, EventSplitter, Meter, error_event, event_data, parse_event
from tests.support.transcripts import FULL, OVERLOADED, PING, SHORT, event, events

BODY = events(FULL)
LINE_ENDS = {"LF": b"\n", "CRLF": b"\r\n", "CR": b"\r"}
FORMS = {
    **{name: BODY.replace(b"\n", end) for name, end in LINE_ENDS.items()},
    "comments": b": first\n\n" + BODY.replace(b"event: ping", b": in between\nevent: ping"),
}


def said(pieces: list[bytes]) -> bytes:
    stream = EnvelopeStream("req_1")
    return b"".join(map(stream.feed, pieces))


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
def test_frames_are_the_same_at_every_split(body: bytes) -> None:
    whole = said([body])

    assert whole == said([BODY])
    for at in range(1, len(body)):
        assert said([body[:at], body[at:]]) == whole, body[at - 20 : at + 20]
    assert said([bytes([byte]) for byte in body]) == whole


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
def test_native_bytes_pass_as_they_are_and_are_metered_at_every_split(body: bytes) -> None:
    expected = Meter()
    expected.feed(body)
    for at in range(1, len(body), 7):
        meter = Meter()
        pieces = [body[:at], body[at:]]
        assert [meter.feed(piece) for piece in pieces] == pieces
        assert meter.usage == expected.usage
        assert meter.finished
    assert expected.usage == {
        "input_tokens": 25,
        "cache_creation_input_tokens": 3,
        "cache_read_input_tokens": 7,
        "output_tokens": 89,
        "service_tier": "standard",
    }
    assert expected.model == "claude-sonnet-4-20250514"
    assert expected.stop_reason == "tool_use"


def test_a_comment_fits_between_events_only() -> None:
    """What a keep-alive needs to know: never inside an event, always after one."""
    meter = Meter()
    for at in range(len(BODY)):
        ended = BODY[:at].endswith(b"\n\n") or at == 0
        assert meter.at_boundary() == ended, BODY[:at][-20:]
        meter.feed(BODY[at : at + 1])
    assert meter.at_boundary()


def test_a_line_end_cut_in_two_begins_no_event() -> None:
    """The line feed that comes by itself belongs to the blank line before it."""
    splitter = EventSplitter()

    assert splitter.feed(b"data: 1\r\n\r") == [b"data: 1"]
    assert splitter.feed(b"\n") == []
    assert splitter.at_boundary


@pytest.mark.parametrize("end", LINE_ENDS.values(), ids=LINE_ENDS)
def test_data_of_several_lines(end: bytes) -> None:
    several = end.join([b"event: x", b'data: {"a":', b"data:1,", b'data:  "b": 2}'])

    assert event_data(several) == b'{"a":\n1,\n "b": 2}'
    assert parse_event(several) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (b"data: x", b"x"),
        (b"data:x", b"x"),
        (b"data:  x", b" x"),
        (b"data:", b""),
        (b"event: x", b""),
        (b": data: x", b""),
        (b"data: x\nid: 3", b"x"),
        (b"metadata: x", b""),
        (b"event: data: x", b""),
        (b"data: a: data: b", b"a: data: b"),
        (b"data: a\rdata: b", b"a\nb"),
    ],
)
def test_data_of_odd_events(text: bytes, data: bytes) -> None:
    assert event_data(text) == data


def test_what_is_no_json_object_is_no_payload() -> None:
    for text in (b"data: [1]", b"data: {", b"data: \xff", b"event: x", b""):
        assert parse_event(text) is None


def test_splitter_keeps_what_is_not_whole() -> None:
    splitter = EventSplitter()

    assert splitter.feed(b"data: 1\n\ndata: 2") == [b"data: 1"]
    assert not splitter.at_boundary
    assert splitter.feed(b"\n\n") == [b"data: 2"]
    assert splitter.at_boundary


def frames(body: bytes) -> list[Any]:
    """The payloads of an envelope stream."""
    return [
        json.loads(frame.partition(b"data: ")[2].replace(b"\ndata: ", b"\n"))
        for frame in body.split(b"\n\n")[:-1]
    ]


def test_each_event_and_each_text() -> None:
    found = frames(said([BODY]))

    texts = [payload["text"] for payload in found if payload["type"] == "text"]
    assert texts == ["Grüße 👋, ", "\u2028line\nend \u0000"]
    assert [payload for payload in found[:-1] if payload["type"] != "text"] == FULL[:-1]
    assert found[-1].keys() == {"type", "message"}


def test_upstreams_json_is_not_written_anew() -> None:
    odd = b'event: ping\ndata: {"type" : "ping", "n":1.10, "u":"\\u00e9"}\n\n'

    assert said([odd]) == b'id: 1\ndata: {"type" : "ping", "n":1.10, "u":"\\u00e9"}\n\n'


def test_an_error_gains_the_request_id_and_ends_the_stream() -> None:
    stream = EnvelopeStream("req_1")

    (payload,) = frames(stream.feed(event(OVERLOADED)))

    assert payload == {**OVERLOADED, "request_id": "req_1"}
    assert stream.finished
    assert stream.error_type == "overloaded_error"


def test_a_native_stream_that_tells_an_error_has_ended() -> None:
    """No other event comes: it is not one that upstream has cut off."""
    meter = Meter()

    meter.feed(events(SHORT[:3]) + event(OVERLOADED))

    assert (meter.finished, meter.error_type) == (True, "overloaded_error")


@pytest.mark.parametrize("kind", [Meter, lambda: EnvelopeStream("req_1")], ids=["native", "envelope"])
def test_all_that_one_chunk_brings_forth_is_found(kind: Any) -> None:
    """None of it may be left out: what no key owns, nobody can fetch or delete."""
    meter = kind()
    block = {
        "type": "code_execution_tool_result",
        "content": {"content": [{"type": "code_execution_output", "file_id": "file_1"}]},
    }
    stream = [
        SHORT[0],
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "message_delta", "delta": {"container": {"id": "container_1"}}, "usage": {}},
        {"type": "message_stop"},
    ]

    meter.feed(events(stream))

    assert meter.found == {("files", "file_1"), ("containers", "container_1")}


def whole_message(body: bytes) -> Any:
    """What the last frame of an envelope stream says of its message."""
    return json.loads(said([body]).split(b"\n\n")[-2].partition(b"data: ")[2])["message"]


@pytest.mark.parametrize(
    ("odd", "text"),
    [(b"Hel\xfflo", "Hel\ufffdlo"), (b"Hel\\ud800lo", "Hel?lo"), (b"Hel\x01lo", "")],
    ids=["no UTF-8", "half a pair", "no JSON"],
)
def test_a_text_that_is_none_does_not_end_its_stream(odd: bytes, text: str) -> None:
    body = events(SHORT).replace(b'"Hello"', b'"%b"' % odd)
    assert body != events(SHORT)

    assert whole_message(body)["content"][0]["text"].startswith(text)


HALF = "cut \ud83d"
"""Half a surrogate pair, as where a text was cut to a length; JSON can say it, UTF-8 cannot."""


def test_half_a_pair_in_a_block_costs_the_message_nothing() -> None:
    result = {"type": "web_search_tool_result", "content": [{"type": "web_search_result", "title": HALF}]}
    block = {"type": "content_block_start", "index": 1, "content_block": result}

    message = whole_message(events(SHORT[:-2]) + half_pair(block) + events(SHORT[-2:]))

    assert [part["type"] for part in message["content"]] == ["text", "web_search_tool_result"]
    assert message["content"][1]["content"][0]["title"] == "cut ?"


@pytest.mark.parametrize("kind", [Meter, lambda: EnvelopeStream("req_1")], ids=["native", "envelope"])
def test_half_a_pair_beside_the_usage(kind: Any) -> None:
    stopped = {"stop_reason": "refusal", "stop_details": {"type": "refusal", "explanation": HALF}}
    end = {"type": "message_delta", "delta": stopped, "usage": {"output_tokens": 89}}
    meter = kind()

    meter.feed(events(SHORT[:-2]) + half_pair(end) + events(SHORT[-1:]))

    assert (meter.usage["output_tokens"], meter.stop_reason) == (89, "refusal")


def half_pair(payload: dict[str, Any]) -> bytes:
    """An event whose text is escaped, so that it may hold what UTF-8 cannot."""
    return b"event: %b\ndata: %b\n\n" % (payload["type"].encode(), json.dumps(payload).encode())


def test_the_last_event_with_blanks_around_its_end() -> None:
    """Anthropic pads events with blanks."""
    body = events(SHORT).replace(b'{"type":"message_stop"}', b'{"type":"message_stop"  }  ')
    assert body != events(SHORT)

    assert whole_message(body) == whole_message(events(SHORT))


@pytest.mark.parametrize("error", [{}, {"message": "of no type"}, {"type": 5}, None])
def test_an_error_without_a_type_is_no_whole_message(error: object) -> None:
    stream = EnvelopeStream("req_1")

    stream.feed(event({"type": "error", "error": error}))

    assert (stream.finished, stream.error_type) == (True, "api_error")


def test_error_frame_of_our_own() -> None:
    stream = EnvelopeStream("req_1")
    stream.feed(event(PING))

    said = b'{"type":"error","error":{"type":"api_error","message":"a \\"b\\""},"request_id":"req_1"}'

    assert stream.error_frame("api_error", 'a "b"') == b"id: 2\ndata: %b\n\n" % said
    assert (stream.finished, stream.error_type) == (True, "api_error")
    assert error_event("api_error", 'a "b"', "req_1") == b"event: error\ndata: %b\n\n" % said


def test_events_that_are_no_messages_pass() -> None:
    body = b"event: x\ndata: plain words\n\ndata: [1]\n\nevent: empty\n\n: comment\n\n"

    assert said([body]) == b"id: 1\ndata: plain words\n\nid: 2\ndata: [1]\n\n"


@pytest.mark.parametrize("kind", [Meter, lambda: EnvelopeStream("req_1")], ids=["native", "envelope"])
def test_a_cut_stream_is_not_finished(kind: Any) -> None:
    meter = kind()
    meter.feed(events(SHORT[:3]))

    assert not meter.finished
    assert meter.usage["input_tokens"] == 25
    assert meter.delta_bytes == pytest.approx(len("Hello"), abs=1)


@pytest.mark.parametrize("kind", [Meter, lambda: EnvelopeStream("req_1")], ids=["native", "envelope"])
def test_odd_events_do_no_harm(kind: Any) -> None:
    meter = kind()
    for payload in (
        {"type": "message_start", "message": []},
        {"type": "message_start", "message": {"usage": 7}},
        {"type": "content_block_delta", "index": 9, "delta": {"type": "text_delta", "text": 7}},
        {"type": "content_block_delta", "index": "x", "delta": []},
        {"type": "message_delta", "delta": 7, "usage": []},
        {"type": "error", "error": "words"},
        {"type": 7},
        {"type": "message_stop"},
    ):
        meter.feed(event(payload))

    assert meter.finished
