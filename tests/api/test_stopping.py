"""SIGTERM: new work is refused, running work is finished, and only then the listener closes."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.support import gateway as gateways
from tests.support.gateway import ADMIN_KEY, SOON, UPSTREAM_KEY, Gateway, eventually
from tests.support.recorder import Gate, Recorder, answer, stream
from tests.support.transcripts import SHORT, events

MESSAGE = {
    "model": "claude-sonnet-4-20250514",
    "max_tokens": 5,
    "messages": [{"role": "user", "content": "Hi"}],
}


@contextmanager
def stoppable(folder: Path, upstream: Recorder, grace: float) -> Iterator[Gateway]:
    settings = {
        "ANTHROPIC_API_KEY": UPSTREAM_KEY,
        "ANTHROPIC_BASE_URL": upstream.url,
        "SHUTDOWN_GRACE_SECONDS": str(grace),
    }
    with gateways.running(folder, settings) as gateway:
        yield gateway


def _draining(gateway: Gateway) -> None:
    eventually(lambda: gateway.call("GET", "/health/ready").status == 503 or None, SOON)


def test_running_work_is_finished(tmp_path: Path) -> None:
    gate, begin, rest = Gate(), events(SHORT[:3]), events(SHORT[3:])
    with Recorder() as upstream, stoppable(tmp_path, upstream, 30) as gateway, ThreadPoolExecutor() as pool:
        upstream.script(stream(begin, gate, rest))
        with gateway.open("POST", "/v1/messages", {**MESSAGE, "stream": True}) as streaming:
            assert streaming.until(begin[-40:]) == begin
            upstream.script([gate, *answer(body=b'{"id":"msg"}')])
            waiting = pool.submit(gateway.call, "POST", "/api/v1/messages/create", MESSAGE)
            upstream.wait_for(2)

            gateway.terminate()
            _draining(gateway)

            assert gateway.call("GET", "/health/live").status == 200
            health = gateway.call("GET", "/health")
            assert health.status == 503
            assert health.json() == {"status": "unhealthy", "version": "1.0.0", "clients_initialized": True}
            assert gateway.call("GET", "/metrics").status == 200
            for target in ("/v1/messages", "/api/v1/messages/create"):
                refused = gateway.call("POST", target, MESSAGE)
                assert refused.status == 503
                assert int(refused.header("retry-after") or 0) > 0
                assert b"the gateway is stopping" in refused.body
            assert refused.json()["metadata"]["error_type"] == "ServiceUnavailableError"
            assert len(upstream.requests) == 2

            gate.open()
            assert streaming.read() == rest
            assert waiting.result(10).json()["data"] == {"id": "msg"}
        assert gateway.process.wait(10) == 0
        assert gateway.log()[-1]["event"] == "Gateway stopped"
        statuses = [line["status_code"] for line in gateway.log() if line["event"] == "Request completed"]
        assert statuses.count(503) >= 4
        assert statuses[-2:] == [200, 200]


def test_what_outlasts_the_grace_is_told_so(tmp_path: Path) -> None:
    gate, begin = Gate(), events(SHORT[:3])
    with Recorder() as upstream, stoppable(tmp_path, upstream, 0.3) as gateway, ThreadPoolExecutor() as pool:
        upstream.script(stream(begin, gate), stream(begin, gate), [gate])
        with (
            gateway.open("POST", "/v1/messages", {**MESSAGE, "stream": True}) as native,
            gateway.open("POST", "/api/v1/messages/stream", MESSAGE) as envelope,
        ):
            native.until(begin[-40:])
            envelope.until(b"Hello")
            waiting = pool.submit(gateway.call, "POST", "/v1/messages", MESSAGE)
            upstream.wait_for(3)

            gateway.terminate()

            name, data = native.read().strip().split(b"\n")
            assert name == b"event: error"
            error = json.loads(data.removeprefix(b"data: "))
            assert error["error"]["message"] == "the gateway is stopping"
            frame = envelope.read().rstrip().rpartition(b"\n\n")[2]
            last = json.loads(frame.partition(b"data: ")[2])
            assert last["type"] == "error"
            assert last["request_id"].startswith("req_")
            refused = waiting.result(10)
            assert refused.status == 503
            assert refused.json()["type"] == "error"
        assert gateway.process.wait(10) == 0
        for request in upstream.requests:
            request.wait_until_left()
        gate.open()


def test_a_second_signal_ends_the_wait(tmp_path: Path) -> None:
    gate = Gate()
    with Recorder() as upstream, stoppable(tmp_path, upstream, 30) as gateway:
        upstream.script([gate])
        connection = gateway.begin("POST", "/v1/messages", MESSAGE)
        upstream.wait_for(1)
        gateway.terminate()
        _draining(gateway)

        gateway.terminate()

        assert gateway.process.wait(10) == 0
        connection.close()
        gate.open()


def test_a_caller_that_does_not_read_does_not_keep_it_alive(tmp_path: Path) -> None:
    gate, begin = Gate(), events(SHORT[:3])
    flood = [
        begin,
        b"".join(b'event: ping\ndata: {"type":"ping","x":"%b"}\n\n' % (b"x" * 1000) for _ in range(9_000)),
    ]
    with Recorder() as upstream, stoppable(tmp_path, upstream, 0.3) as gateway:
        upstream.script(stream(*flood, gate))
        with socket.socket() as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            address = urlsplit(gateway.url)
            caller.connect((address.hostname, address.port))
            body = json.dumps({**MESSAGE, "stream": True}).encode()
            caller.sendall(
                b"POST /v1/messages HTTP/1.1\r\nhost: gateway\r\nx-api-key: %b\r\n"
                b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (ADMIN_KEY.encode(), len(body), body)
            )
            assert caller.recv(12) == b"HTTP/1.1 200"
            upstream.wait_for(1)

            gateway.terminate()

            assert gateway.process.wait(10) == 0
        assert gateway.log()[-1]["event"] == "Gateway stopped"
        gate.open()
