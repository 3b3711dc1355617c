"""What upstream and the network before it do wrong: what callers get, and that nothing is left behind."""

import socket
import ssl
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.upstream import LOST_AFTER
from tests.faults.observing import KINDS, Health, Kind, Seen, ask, booking, counters, risen, rows
from tests.faults.table import Row, Table
from tests.faults.upstream_faults import FAULTS, TIMEOUT, Fault, both
from tests.servers import binary
from tests.support import gateway as gateways
from tests.support.client import Client
from tests.support.gateway import UPSTREAM_KEY, Gateway
from tests.support.keys import new_key
from tests.support.memory import Growth
from tests.support.raw_server import Certificates, make_certificates
from tests.support.recorder import CLOSE, RESET, Received, Recorder

NORMAL = Fault()
SETTINGS = {
    "ANTHROPIC_API_KEY": UPSTREAM_KEY,
    "ANTHROPIC_TIMEOUT": str(TIMEOUT),
    "ANTHROPIC_MAX_RETRIES": "0",
}


@dataclass
class Bench:
    """A gateway at rest, its upstream, and a caller for each kind of call.

    Each caller's key has one place and a budget: a place or a reservation that is not given back would stop
    its next call.
    """

    gateway: Gateway
    upstream: Recorder
    callers: dict[str, Client]
    health: Health

    def play(self, fault: Fault) -> None:
        def reply(request: Received) -> list[object]:
            return list(fault.steps(streamed=b'"stream"' in request.body))

        self.upstream.reset()
        self.upstream.reply = reply  # type: ignore[assignment]

    def play_once_a_caller(self, fault: Fault) -> None:
        """Misbehave at the first request of each kind of call, and behave from then on."""
        self.play(fault)
        misbehave, met = self.upstream.reply, set()

        def reply(request: Received) -> list[object]:
            kind = (request.header("anthropic-version"), b'"stream"' in request.body)
            first = kind not in met
            met.add(kind)
            fine = NORMAL.steps(streamed=b'"stream"' in request.body)
            return list(misbehave(request)) if first else list(fine)

        self.upstream.reply = reply  # type: ignore[assignment]

    def ask(self, kinds: Sequence[Kind] = KINDS) -> dict[str, Seen]:
        """One call of each kind, at the same time."""
        with ThreadPoolExecutor() as pool:
            asked = {kind.name: pool.submit(ask, self.callers[kind.name], kind) for kind in kinds}
            return {name: future.result() for name, future in asked.items()}

    def observe(self, table: Table, fault: str, kinds: Sequence[Kind] = KINDS) -> dict[str, Seen]:
        """Make the calls, tell the table, and fail unless everything is as before and works."""
        before, settled = counters(self.gateway), len(rows(self.gateway.data))
        seen = self.ask(kinds)
        self.health.check()
        outcomes = {kind.name: seen[kind.name].outcome(native=kind.native) for kind in kinds}
        booked = " / ".join(sorted({booking(row) for row in rows(self.gateway.data)[settled:]}))
        moved = risen(before, counters(self.gateway))
        table.saw(Row("upstream", fault, outcomes, booked, moved))
        return seen

    def check_works(self) -> None:
        """The next calls of the same callers succeed."""
        self.play(NORMAL)
        for kind in KINDS:
            assert ask(self.callers[kind.name], kind).outcome(native=kind.native) == "200"
        self.health.check()


@contextmanager
def running_bench(folder: Path, tls: ssl.SSLContext | None = None, **settings: str) -> Iterator[Bench]:
    """A gateway with these settings beside the usual ones, once each of its callers was served."""
    with Recorder(tls) as upstream:
        usual = SETTINGS | {"ANTHROPIC_BASE_URL": upstream.url}
        with gateways.running(folder, usual | settings) as gateway:
            callers = {
                kind.name: new_key(gateway, kind.name, scopes=["messages"], concurrency=1, usd_per_day=1000)[
                    1
                ]
                for kind in KINDS
            }
            bench = Bench(gateway, upstream, callers, health=None)  # type: ignore[arg-type]
            bench.play(NORMAL)
            for seen in bench.ask().values():
                assert seen.status == 200
            bench.health = Health(gateway, upstream)
            yield bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with running_bench(tmp_path_factory.mktemp("upstream")) as made:
        yield made


@pytest.mark.parametrize("name", FAULTS)
def test_fault(bench: Bench, table: Table, name: str) -> None:
    fault = FAULTS[name]
    bench.play(fault)
    growth = Growth(bench.gateway)

    kinds = [kind for kind in KINDS if (fault.streamed if kind.streamed else fault.whole) is not None]
    seen = bench.observe(table, name, kinds)

    assert growth.most < 30_000_000
    assert len(bench.upstream.requests) == len(kinds)
    if "native stream" in seen:
        assert seen["native stream"].body.startswith(fault.delivered)
    bench.check_works()


def test_refused_connections(bench: Bench, table: Table) -> None:
    with bench.upstream.refusing():
        bench.observe(table, "connections are refused")
    bench.check_works()


def test_half_open(bench: Bench, table: Table) -> None:
    """The kernel accepts the connection and takes the request in, and nobody is there: a frozen process."""
    with bench.upstream.refusing(), socket.create_server(("127.0.0.1", bench.upstream.port)):
        bench.observe(table, "half-open connections")
    bench.check_works()


def test_kept_connections_die(bench: Bench, table: Table) -> None:
    """All connections that are kept for the next call are closed meanwhile."""
    with bench.upstream.refusing():
        bench.health.check()
    bench.play(NORMAL)
    bench.observe(table, "kept connections are closed between two calls")
    bench.check_works()


def test_connections_break_late(tmp_path: Path, table: Table) -> None:
    """What upstream has had for a while it may have worked on, as the networks between end long waits."""
    faults = {
        "closes before the head, later": both(LOST_AFTER + 0.1, CLOSE),
        "resets before the head, later": both(LOST_AFTER + 0.1, RESET),
    }
    with running_bench(tmp_path, ANTHROPIC_TIMEOUT="10") as bench:
        for name, fault in faults.items():
            bench.play(fault)
            bench.observe(table, name)
            bench.check_works()


def test_retries(tmp_path: Path, table: Table) -> None:
    """The envelope tries again, native callers do so for themselves; nothing after its first byte."""
    faults = {
        "529, then an answer": FAULTS["529"],
        "529 as the first event, then an answer": FAULTS["529 as the first event"],
        "429 without retry-after, then an answer": FAULTS["429 without retry-after"],
        "a connection that resets, then an answer": FAULTS["resets before the head"],
        "a stream that is cut, then an answer": FAULTS["cut between two events"],
    }
    with running_bench(tmp_path, ANTHROPIC_MAX_RETRIES="1") as bench:
        for name, fault in faults.items():
            bench.play_once_a_caller(fault)
            kinds = [k for k in KINDS if (fault.streamed if k.streamed else fault.whole) is not None]
            bench.observe(table, name, kinds)
            bench.check_works()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"), binary("openssl"))


def test_tls(tmp_path: Path, table: Table, certificates: Certificates) -> None:
    """An upstream that cannot prove who it is, or speaks no TLS, gets no byte of a call."""
    good = certificates.server_context()
    contexts = {
        "a certificate that nobody vouches for": certificates.faulty_context(vouched=False),
        "a certificate for another host": certificates.faulty_context("elsewhere.example"),
        "a certificate that has expired": certificates.faulty_context(days=-1),
        "no TLS at all": None,
    }
    with running_bench(tmp_path, good, SSL_CERT_FILE=str(certificates.authority)) as bench:
        for name, context in contexts.items():
            bench.play(NORMAL)
            bench.upstream.serve_with(context)
            bench.observe(table, name)
            assert not bench.upstream.requests
            bench.upstream.serve_with(good)
            bench.check_works()
