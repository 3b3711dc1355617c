"""What callers do wrong: what they get, that nobody else notices, and that nothing is left behind."""

import http.client
import json
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.faults.observing import MESSAGE, Health, Seen, counters, risen
from tests.faults.table import Row, Table
from tests.faults.upstream_faults import BODY as FINE
from tests.support import gateway as gateways
from tests.support.client import Client
from tests.support.gateway import UPSTREAM_KEY, Gateway, eventually
from tests.support.keys import new_key
from tests.support.recorder import Gate, Received, Recorder, answer, stream
from tests.support.transcripts import SHORT, event, events

PATIENCE = 1.2
PATHS = {"native": "/v1/messages", "envelope": "/api/v1/messages/create"}
STREAMS = {"native": "/v1/messages", "envelope": "/api/v1/messages/stream"}
BODY = json.dumps(MESSAGE).encode()
STREAM_BODY = json.dumps(MESSAGE | {"stream": True}).encode()
WAIT = 10.0
LEFT = 'http_requests_total{code="499"}'
LONG = event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x" * 8000}})


class Bench:
    """A gateway with an upstream that behaves, and one key with one place and a budget."""

    def __init__(self, gateway: Gateway, upstream: Recorder) -> None:
        self.gateway = gateway
        self.upstream = upstream
        _, self.caller = new_key(gateway, "caller", scopes=["messages"], concurrency=1, usd_per_day=1000)
        self.key = self.caller.key or ""
        self.check_works()
        self.health = Health(gateway, upstream)

    def request(self, path: str, body: bytes = BODY, *lines: str) -> bytes:
        """A whole request."""
        length = [f"content-length: {len(body)}"]
        return self.head("POST", path, *(lines or length)) + body

    def head(self, method: str, path: str, *lines: str) -> bytes:
        fields = ["host: gateway", f"x-api-key: {self.key}", "content-type: application/json", *lines, "", ""]
        return "\r\n".join([f"{method} {path} HTTP/1.1", *fields]).encode()

    @contextmanager
    def connected(self, *, buffer: int | None = None) -> Iterator[socket.socket]:
        with socket.socket() as sock:
            if buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            sock.settimeout(WAIT)
            sock.connect(self.gateway.address)
            yield sock

    def outcome(self, data: bytes, *, native: bool) -> str:
        """Send bytes, and say what comes back and whether the connection is closed then."""
        with self.connected() as sock:
            try:
                sock.sendall(data)
            except ConnectionError:
                return "cut"
            return said(sock, native=native)

    def check_works(self) -> None:
        """The next call of the same key succeeds."""
        self.upstream.reply = _reply
        for path in PATHS.values():
            assert self.caller.call("POST", path, MESSAGE).status == 200


def _reply(request: Received) -> list[object]:
    return stream(events(SHORT)) if b'"stream"' in request.body else answer(body=FINE)


def said(sock: socket.socket, *, native: bool) -> str:
    """The answer on a connection, and whether it is closed after that."""
    response = http.client.HTTPResponse(sock)
    try:
        response.begin()
        body = response.read()
    except (http.client.HTTPException, ConnectionError):
        return "closed without an answer"
    headers = {name.lower(): value for name, value in response.getheaders()}
    outcome = Seen(response.status, headers, body, whole=True).outcome(native=native)
    return f"{outcome}, closed" if headers.get("connection") == "close" else outcome


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Recorder() as upstream:
        settings = {
            "ANTHROPIC_API_KEY": UPSTREAM_KEY,
            "ANTHROPIC_BASE_URL": upstream.url,
            "CALLER_TIMEOUT": str(PATIENCE),
        }
        with gateways.running(tmp_path_factory.mktemp("callers"), settings) as gateway:
            yield Bench(gateway, upstream)


@contextmanager
def observed(bench: Bench, table: Table, fault: str) -> Iterator[dict[str, str]]:
    """Take the outcomes of a fault, tell the table, and fail unless all is as before and works."""
    before, outcomes = counters(bench.gateway), dict[str, str]()
    bench.upstream.reset()
    bench.upstream.reply = _reply
    yield outcomes
    bench.health.check()
    table.saw(Row("caller", fault, outcomes, metrics=risen(before, counters(bench.gateway))))
    bench.check_works()


CHUNKED = "transfer-encoding: chunked"
SMUGGLED = b"GET /v1/models HTTP/1.1\r\nhost: gateway\r\n\r\n"


def _with(*lines: str, body: bytes = BODY) -> Callable[[Bench, str], bytes]:
    return lambda bench, path: bench.head("POST", path, *lines) + body


WRITTEN: dict[str, Callable[[Bench, str], bytes]] = {
    # a head that is none, or too much
    "a request line that is none": lambda _, path: f"NONSENSE {path}\r\n\r\n".encode(),
    "a header without a name": _with(": x", "content-length: 0", body=b""),
    "a header without a colon": _with("nonsense", "content-length: 0", body=b""),
    "a NUL in a header": _with("x-nul: a\0b", "content-length: 0", body=b""),
    "a header of 1 MB": _with("x-long: " + "x" * 1_000_000),
    "100,000 headers": _with(*(f"x-{number}: x" for number in range(100_000))),
    "a URL of 1 MB": lambda bench, path: bench.head("POST", f"{path}?{'x' * 1_000_000}"),
    "HTTP/2 without an upgrade": lambda *_: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS at a plain port": lambda *_: bytes.fromhex("16030100050100000100") + bytes(64),
    # a body that is not what was announced
    "a chunk size that is no number": _with(CHUNKED, body=b"zz\r\n" + BODY),
    "a length that is no number": _with("content-length: many"),
    "a negative length": _with("content-length: -5"),
    # what a proxy might read in another way
    "smuggling: a length and chunks": _with(
        f"content-length: {len(BODY)}", CHUNKED, body=b"0\r\n\r\n" + SMUGGLED
    ),
    "smuggling: chunks and a length": _with(CHUNKED, "content-length: 4", body=b"0\r\n\r\n" + SMUGGLED),
    "smuggling: chunked twice": _with(CHUNKED, CHUNKED, body=b"0\r\n\r\n" + SMUGGLED),
    "smuggling: an unknown coding": _with("transfer-encoding: xchunked", body=b"0\r\n\r\n" + SMUGGLED),
    "smuggling: chunked is not the last coding": _with(
        "transfer-encoding: chunked, identity", body=b"0\r\n\r\n" + SMUGGLED
    ),
    "smuggling: a tab before the coding": _with(
        "transfer-encoding:\x0bchunked", body=b"0\r\n\r\n" + SMUGGLED
    ),
    "smuggling: a blank before the colon": _with("transfer-encoding : chunked", body=b"0\r\n\r\n" + SMUGGLED),
    "smuggling: a folded header": _with("x-folded: a\r\n transfer-encoding: chunked", body=SMUGGLED),
    "smuggling: two lengths that differ": _with("content-length: 0", f"content-length: {len(SMUGGLED)}"),
    "smuggling: the same length twice": _with("content-length: 5", "content-length: 5"),
    "smuggling: a list of lengths": _with("content-length: 5, 5"),
    "smuggling: a length with a sign": _with("content-length: +5"),
    "smuggling: bare line feeds": lambda bench, path: bench.request(path).replace(b"\r\n", b"\n"),
    "smuggling: a bare carriage return": _with("x-cr: a\rcontent-length: 0", body=b""),
    "smuggling: a bare line feed in a chunk": _with(CHUNKED, body=b"1\n{\r\n0\r\n\r\n"),
    "smuggling: a chunk extension with a line feed": _with(CHUNKED, body=b"1;a\nb\r\n{\r\n0\r\n\r\n"),
}

PATHLESS = {"a request line that is none", "HTTP/2 without an upgrade", "TLS at a plain port"}
"""Where no path came whole, so that the refusal speaks the envelope's dialect."""


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_no_request(bench: Bench, table: Table, name: str) -> None:
    """It is refused, and never do the bytes after it become a request of their own."""
    with observed(bench, table, name) as outcomes:
        for dialect, path in {"any": ""}.items() if name in PATHLESS else PATHS.items():
            outcomes[dialect] = bench.outcome(WRITTEN[name](bench, path), native=dialect == "native")
        assert not bench.upstream.requests
        assert all(outcome.startswith("4") and outcome.endswith("closed") for outcome in outcomes.values())


def test_slow_heads(bench: Bench, table: Table) -> None:
    with observed(bench, table, "slowloris: a head that comes a byte at a time") as outcomes:
        for dialect, path in PATHS.items():
            with bench.connected() as sock:
                begun = time.monotonic()
                for byte in bench.request(path):
                    try:
                        sock.sendall(bytes([byte]))
                    except ConnectionError:
                        break
                    time.sleep(0.05)
                    if time.monotonic() - begun > PATIENCE + 0.2:
                        break
                outcomes[dialect] = said(sock, native=dialect == "native")


def test_bodies_that_stop(bench: Bench, table: Table) -> None:
    """The place that the call holds comes free."""
    with observed(bench, table, "a body that stops") as outcomes:
        for dialect, path in PATHS.items():
            outcomes[dialect] = bench.outcome(
                bench.head("POST", path, "content-length: 1000") + b"{", native=dialect == "native"
            )


def test_chunks_without_end(bench: Bench, table: Table) -> None:
    piece = b"%x\r\n%b\r\n" % (1 << 20, bytes(1 << 20))
    with observed(bench, table, "chunks without end") as outcomes:
        for dialect, path in PATHS.items():
            with bench.connected() as sock:
                sock.sendall(bench.head("POST", path, CHUNKED))
                try:
                    for _ in range(100):
                        sock.sendall(piece)
                except ConnectionError:
                    outcomes[dialect] = "413 while it sends, closed"
        assert not bench.upstream.requests


def test_silent_connections(bench: Bench, table: Table) -> None:
    with observed(bench, table, "a connection without a request") as outcomes:
        outcomes["any"] = bench.outcome(b"", native=True)


def test_never_reading(bench: Bench, table: Table) -> None:
    """Upstream is let go of, although nobody hangs up."""
    with observed(bench, table, "a stream that is never read") as outcomes:
        bench.upstream.reply = lambda _: [*stream(events(SHORT[:3]), *[LONG] * 2000)]
        for count, (dialect, path) in enumerate(STREAMS.items(), 1):
            with bench.connected(buffer=4096) as sock:
                sock.sendall(bench.request(path, STREAM_BODY if dialect == "native" else BODY))
                bench.upstream.wait_for(count).wait_until_left()
            outcomes[dialect] = "cut after `CALLER_TIMEOUT`"


def test_leaving_early(bench: Bench, table: Table) -> None:
    with observed(bench, table, "hanging up inside the head") as outcomes:
        with bench.connected() as sock:
            sock.sendall(b"POST /v1/messages HT")
        outcomes["any"] = "nothing"
    before = counters(bench.gateway).get(LEFT, 0)
    with observed(bench, table, "hanging up inside the body") as outcomes:
        with bench.connected() as sock:
            sock.sendall(bench.request(PATHS["native"])[:-5])
        outcomes["any"] = "nothing"
        eventually(lambda: counters(bench.gateway).get(LEFT, 0) > before or None, WAIT)
    with observed(bench, table, "hanging up while upstream works") as outcomes:
        gate = Gate()
        bench.upstream.reply = lambda _: [gate]
        for path in PATHS.values():
            with bench.connected() as sock:
                sock.sendall(bench.request(path))
                received = bench.upstream.wait_for(len(bench.upstream.requests) + 1)
            received.wait_until_left()
        gate.open()
        outcomes["any"] = "nothing"
    with observed(bench, table, "hanging up inside a stream") as outcomes:
        gate = Gate()
        bench.upstream.reply = lambda _: stream(events(SHORT[:3]), gate)
        with bench.connected() as sock:
            sock.sendall(bench.request(STREAMS["native"], STREAM_BODY))
            assert sock.recv(1 << 16).startswith(b"HTTP/1.1 200")
        bench.upstream.wait_for(1).wait_until_left()
        gate.open()
        outcomes["any"] = "nothing"


def queued(bench: Bench) -> int:
    return int(bench.gateway.metric("anthropic_gateway_queue_depth"))


def test_leaving_the_line(bench: Bench, table: Table) -> None:
    """Who waits for a place of its key and leaves frees its place in the line at once."""
    with observed(bench, table, "hanging up in line for a place") as outcomes:
        gate = Gate()
        bench.upstream.reply = lambda _: [gate, *answer(body=FINE)]
        with bench.connected() as first, ExitStack() as waiting:
            first.sendall(bench.request(PATHS["native"]))
            bench.upstream.wait_for(1)
            for _ in range(5):
                waiting.enter_context(bench.connected()).sendall(bench.request(PATHS["native"]))
            eventually(lambda: queued(bench) == 5 or None, WAIT)
            waiting.close()
            eventually(lambda: queued(bench) == 0 or None, WAIT)
            gate.open()
            outcomes["any"] = "nothing"
            assert said(first, native=True) == "200"
        assert len(bench.upstream.requests) == 1


def test_pipelining(bench: Bench, table: Table) -> None:
    with observed(bench, table, "two requests at once on one connection") as outcomes:
        for dialect, path in PATHS.items():
            bench.upstream.script(answer(body=FINE), answer(body=FINE.replace(b"msg_01", b"msg_02")))
            with bench.connected() as sock:
                sock.sendall(bench.request(path) + bench.request(path))
                answers = b""
                while answers.count(b"msg_") < 2:
                    answers += sock.recv(1 << 16)
            assert answers.index(b"msg_01") < answers.index(b"msg_02")
            outcomes[dialect] = "200 and 200, in order"


def test_leaving_a_pipeline(bench: Bench, table: Table) -> None:
    """The request that runs is told, not only the last one that came."""
    with observed(bench, table, "hanging up after two requests at once") as outcomes:
        gate = Gate()
        bench.upstream.reply = lambda _: [gate]
        with bench.connected() as sock:
            sock.sendall(bench.request(PATHS["native"]) * 2)
            received = bench.upstream.wait_for(1)
        received.wait_until_left()
        gate.open()
        outcomes["any"] = "nothing"
        assert len(bench.upstream.requests) == 1


def test_garbage_behind_a_request(bench: Bench, table: Table) -> None:
    """In the middle of a stream no refusal can be said: it would be taken for a part of the stream."""
    with observed(bench, table, "garbage behind a request whose stream runs") as outcomes:
        gate = Gate()
        bench.upstream.reply = lambda _: [*stream(events(SHORT[:3]), gate)]
        with bench.connected() as sock:
            sock.sendall(bench.request(STREAMS["native"], STREAM_BODY))
            answered = sock.recv(1 << 16)
            while b"content_block_start" not in answered:
                answered += sock.recv(1 << 16)
            sock.sendall(b"\x00\x01 garbage\r\n\r\n")
            try:
                while more := sock.recv(1 << 16):
                    answered += more
            except ConnectionResetError:
                pass
            assert answered.count(b"HTTP/1.1") == 1
        bench.upstream.wait_for(1).wait_until_left()
        gate.open()
        outcomes["native stream"] = "200, then cut"


def test_idle_connections(tmp_path: Path, table: Table) -> None:
    """As many as the system allows, at most 10,000, and another caller's call meanwhile."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the gateway inherits it
    wanted = min(10_000, most - 500)
    with Recorder() as upstream:
        settings = {"ANTHROPIC_API_KEY": UPSTREAM_KEY, "ANTHROPIC_BASE_URL": upstream.url}
        with gateways.running(tmp_path, settings) as gateway:
            bench = Bench(gateway, upstream)
            with observed(bench, table, "10,000 idle connections") as outcomes:
                with ExitStack() as idle:
                    for _ in range(wanted):
                        idle.enter_context(socket.create_connection(gateway.address, WAIT))
                    quickest = min(_seconds(bench.caller) for _ in range(5))
                    assert gateway.metric("process_open_fds") > wanted
                assert quickest < 0.5
                outcomes["others"] = "200, as ever"


def _seconds(caller: Client) -> float:
    begun = time.monotonic()
    assert caller.call("POST", PATHS["native"], MESSAGE).status == 200
    return time.monotonic() - begun
