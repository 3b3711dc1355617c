"""A caller that leaves ends the upstream call at once; one that reads slowly does not cost memory."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import Relay
from tests.support.gateway import SOON, Gateway, eventually
from tests.support.recorder import Gate, Received, Recorder, head, stream
from tests.support.transcripts import SHORT, event, events

MESSAGE = {
    "model": "claude-sonnet-4-20250514",
    "max_tokens": 5,
    "messages": [{"role": "user", "content": "Hi"}],
}
AT_ONCE = 0.2

MEGABYTE = 1 << 20


def _named() -> tuple[str, list[tuple[str, str]]]:
    """An id of our own for a request, by which its log line is found, and the header that sets it."""
    request_id = f"req_{uuid.uuid4().hex}"
    return request_id, [("x-request-id", request_id)]


def _abandoned(gateway: Gateway, request_id: str) -> dict[str, object]:
    """The log line of a call that its caller left."""
    line = gateway.request_line(request_id)
    assert line["status_code"] == 499
    return line


def _held_back(request: Received) -> bool:
    """Whether upstream has come to where it can send no more."""
    sent = request.sent
    time.sleep(0.5)
    return 0 < sent == request.sent and not request.finished


def test_upstream_sees_it_at_once(relay: Relay) -> None:
    """Within 200 ms; the best of five, as the machine may be busy."""
    delays = []
    for _ in range(5):
        gate = Gate()
        relay.upstream.reset()
        relay.upstream.script([gate])
        connection = relay.gateway.begin("POST", "/v1/messages", MESSAGE)
        request = relay.upstream.wait_for(1)
        connection.close()
        hung_up = time.monotonic()
        delays.append(request.wait_until_left() - hung_up)
        gate.open()

    assert min(delays) < AT_ONCE, delays


@pytest.mark.parametrize(
    "target",
    ["/v1/messages", "/api/v1/messages/create", "/api/v1/messages/stream", "/v1/messages/count_tokens"],
)
@pytest.mark.parametrize("patience", [0.02, 0.5], ids=["at once", "after a while"])
def test_while_waiting(relay: Relay, target: str, patience: float) -> None:
    request_id, name = _named()
    gate = Gate()
    relay.upstream.script([gate])
    connection = relay.gateway.begin("POST", target, MESSAGE, name)
    request = relay.upstream.wait_for(1)
    time.sleep(patience)

    connection.close()

    request.wait_until_left()
    assert _abandoned(relay.gateway, request_id)["url"] == target
    gate.open()


@pytest.mark.parametrize("target", ["/v1/messages", "/api/v1/messages/stream"])
@pytest.mark.parametrize("patience", [0.0, 0.5], ids=["at once", "after a while"])
def test_while_streaming(relay: Relay, target: str, patience: float) -> None:
    request_id, name = _named()
    aborts = 'anthropic_gateway_stream_aborts_total{phase="mid",side="client"}'
    before = relay.gateway.metric(aborts)
    text = event(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x" * 400}}
    )
    gate = Gate()
    relay.upstream.script(stream(events(SHORT[:2]), text, gate))
    with relay.gateway.open("POST", target, {**MESSAGE, "stream": True}, name) as got:
        got.until(b"x" * 400)
        time.sleep(patience)
        got.hang_up()

    relay.upstream.only.wait_until_left()
    line = _abandoned(relay.gateway, request_id)
    assert line["input_tokens"] == 25
    assert line["output_tokens"] == pytest.approx(100, abs=5)
    assert relay.gateway.metric(aborts) == before + 1
    gate.open()


@pytest.mark.parametrize(
    "target", ["/v1/files/f/content", "/api/v1/files/f/content", "/v1/sessions/s/events/stream"]
)
def test_while_downloading(relay: Relay, target: str) -> None:
    request_id, name = _named()
    gate = Gate()
    relay.upstream.script(stream(b"x" * 10_000, gate, kind="application/octet-stream"))
    with relay.gateway.open("GET", target, headers=name) as got:
        got.chunk()
        got.hang_up()

    relay.upstream.only.wait_until_left()
    _abandoned(relay.gateway, request_id)
    gate.open()


def test_while_uploading(relay: Relay) -> None:
    """Upstream must not take half a file for a whole one: its connection breaks off."""
    request_id, name = _named()
    headers = [("content-type", "multipart/form-data; boundary=b"), ("content-length", "1000000"), *name]
    begin = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc'

    connection = relay.gateway.begin("POST", "/v1/files", begin, headers)
    time.sleep(0.2)
    connection.close()

    _abandoned(relay.gateway, request_id)
    assert relay.upstream.requests == []  # the recorder counts whole requests alone


def test_nothing_is_left_behind(relay: Relay) -> None:
    """After a crowd of callers has left, nothing is in flight and the next call is served."""
    gate = Gate()
    names = [_named() for _ in range(40)]
    relay.upstream.reply = lambda _: stream(events(SHORT[:3]), gate)

    def leave(target: str, name: list[tuple[str, str]]) -> None:
        with relay.gateway.open("POST", target, {**MESSAGE, "stream": True}, name) as got:
            got.chunk()

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(leave, ["/v1/messages", "/api/v1/messages/stream"] * 20, [name for _, name in names]))

    for request_id, _ in names:
        _abandoned(relay.gateway, request_id)
    for request in relay.upstream.requests:
        request.wait_until_left()
    gate.open()
    relay.upstream.reset()
    assert relay.gateway.call("GET", "/v1/models").status == 200


@pytest.mark.parametrize("target", ["/v1/files/f/content", "/v1/messages"])
def test_slow_reader(gateway: Gateway, upstream: Recorder, target: str) -> None:
    """The gateway reads no faster than its caller: upstream is held back, and memory stays."""
    size = 200 * MEGABYTE
    if target == "/v1/messages":
        delta = event(
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "x" * MEGABYTE}}
        )
        upstream.script(stream(events(SHORT[:2]), *[delta] * 200))
    else:
        block = b"x" * MEGABYTE
        upstream.script([head(200, [("content-length", str(size))]), *[block] * 200])
    before = gateway.memory()

    method, body = ("GET", None) if target.startswith("/v1/files") else ("POST", {**MESSAGE, "stream": True})
    with gateway.open(method, target, body) as got:
        got.chunk()
        request = upstream.only
        eventually(lambda: _held_back(request) or None, SOON)
        assert request.sent < 30 * MEGABYTE
        assert gateway.memory() - before < 20 * MEGABYTE
    request.wait_until_left()


def test_large_upload_is_not_held(gateway: Gateway, upstream: Recorder) -> None:
    size = 100 * MEGABYTE
    begin = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    end = b"\r\n--b--\r\n"
    before = gateway.memory()
    for target in ("/v1/files", "/api/v1/files/upload"):
        upstream.reset()
        headers = [
            ("content-type", "multipart/form-data; boundary=b"),
            ("content-length", str(len(begin) + size + len(end))),
        ]
        connection = gateway.begin("POST", target, begin, headers)
        block = b"x" * MEGABYTE
        for _ in range(100):
            connection.send(block)
        assert gateway.memory() - before < 20 * MEGABYTE
        connection.send(end)
        assert connection.getresponse().status == 200
        connection.close()
        assert len(upstream.only.body) == len(begin) + size + len(end)
    assert gateway.memory() - before < 20 * MEGABYTE
