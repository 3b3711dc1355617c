"""Callers who ask for long streams and do not read them cost little, and nobody else notices."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.conftest import RELAY_TIMEOUT
from tests.support.gateway import ADMIN_KEY, Gateway, eventually
from tests.support.memory import Growth
from tests.support.recorder import Gate, Received, Recorder, Step, answer, stream
from tests.support.transcripts import event

READERS = 20
EVENTS = 2000
DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x" * 4000}}
START = {"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant"}}
STREAM = stream(event(START), *[event(DELTA)] * EVENTS, event({"type": "message_stop"}))
"""8 MB, more than any buffer on the way grows to."""

EACH = 500_000
"""Bytes that a caller who does not read may cost. Without back-pressure it would be all of the 8 MB, and more
in the envelope, which says each text again and keeps the message for its last frame."""

QUICK = 0.2
PATHS = {"native": "/v1/messages", "envelope": "/api/v1/messages/stream"}
MESSAGE = {"model": "claude-opus-4-8", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}


@contextmanager
def never_reading(gateway: Gateway, path: str) -> Iterator[socket.socket]:
    body = json.dumps(MESSAGE | {"stream": True} if path == PATHS["native"] else MESSAGE).encode()
    lines = [f"POST {path} HTTP/1.1", "host: gateway", f"x-api-key: {ADMIN_KEY}", "connection: close"]
    lines += ["content-type: application/json", f"content-length: {len(body)}", "", ""]
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.settimeout(10)
        caller.connect((host, int(port)))
        caller.sendall("\r\n".join(lines).encode() + body)
        yield caller


def rest(caller: socket.socket) -> bytes:
    response = http.client.HTTPResponse(caller)
    response.begin()
    return response.read()


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_stream_does_not_keep_its_request(gateway: Gateway, upstream: Recorder, path: str) -> None:
    prompt = {"role": "user", "content": "x" * 800_000}
    body = MESSAGE | {"messages": [prompt]} | ({"stream": True} if path == PATHS["native"] else {})
    gate = Gate()
    upstream.reply = lambda _: stream(event(START), gate, event({"type": "message_stop"}))
    with ExitStack() as opened:
        memory = []
        for _ in range(2 * READERS):
            stream_ = opened.enter_context(gateway.open("POST", path, body))
            stream_.until(b"message_start")
            memory.append(gateway.memory())
        assert memory[-1] - memory[READERS - 1] < READERS * 800_000 / 2
        gate.open()


def reply(request: Received) -> list[Step]:
    return STREAM if b'"stream"' in request.body else answer()


def settle(upstream: Recorder) -> None:
    """Wait until upstream can send no more."""
    seen = [-1]

    def held_back() -> bool | None:
        time.sleep(0.3)
        seen.append(sum(request.sent for request in upstream.requests))
        return (len(upstream.requests) >= READERS and seen[-1] == seen[-2] > 0) or None

    eventually(held_back, 30)


def seconds_of_a_call(gateway: Gateway) -> float:
    begun = time.monotonic()
    assert gateway.call("POST", PATHS["native"], MESSAGE).status == 200
    return time.monotonic() - begun


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_streams_that_are_not_read(gateway: Gateway, upstream: Recorder, path: str) -> None:
    upstream.reply = reply
    for _ in range(20):  # what every call needs is there before memory is watched
        seconds_of_a_call(gateway)
    upstream.requests.clear()
    growth = Growth(gateway)

    with ExitStack() as opened:
        callers = [opened.enter_context(never_reading(gateway, path)) for _ in range(READERS)]
        settle(upstream)
        assert growth.most < READERS * EACH

        assert sorted(seconds_of_a_call(gateway) for _ in range(20))[10] < QUICK

        time.sleep(RELAY_TIMEOUT)  # upstream was silent for longer now, but through no fault of its own
        assert rest(callers[0]).count(b'"text_delta"') == EVENTS
