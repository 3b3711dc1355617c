"""What goes over the wire: bodies of the sizes that the README states, streams that parse."""

import json

import pytest

from bench import payloads
from bench.load import sse_client, sse_server


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_is_valid_json_of_2_kb(stream: bool) -> None:
    body = payloads.request_body(stream=stream)
    assert len(body) == 2048
    assert json.loads(body).get("stream", False) is stream


def test_a_request_that_cannot_be_so_small_is_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        payloads.request_body(size=100)


def test_the_answer_is_a_message_of_1100_bytes() -> None:
    assert len(payloads.message_body()) == 1100
    assert json.loads(payloads.message_body())["type"] == "message"


def test_the_big_body_is_as_big_as_asked() -> None:
    assert len(payloads.big_request_body(1)) == pytest.approx(1_000_000, rel=0.001)


def test_a_burst_is_fifty_events_each_in_a_chunk() -> None:
    head, _, chunks = sse_server.Answers(payloads.STREAM_EVENTS, 24).burst.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    bodies = []
    while chunks:
        size, _, chunks = chunks.partition(b"\r\n")
        bodies.append(chunks[: int(size, 16)])
        chunks = chunks[int(size, 16) + 2 :]
    assert bodies.pop() == b""
    assert len(bodies) == payloads.STREAM_EVENTS
    assert all(body.startswith(b"event: ") and body.endswith(b"\n\n") for body in bodies)


def test_the_client_reads_the_stamp_that_the_server_writes_in_either_order_of_keys() -> None:
    event = sse_server.stamped_delta()
    stamp = json.loads(event.partition(b"data: ")[2])["delta"]["text"].encode()
    turned = b'{"delta": {"text": "%s", "type": "text_delta"}}' % stamp
    assert [match.group(1) for match in sse_client.STAMP.finditer(event)] == [stamp]
    assert [match.group(2) for match in sse_client.STAMP.finditer(turned)] == [stamp]
