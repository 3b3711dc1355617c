"""What the machine around the gateway does wrong, and how the gateway is ended: nothing is lost."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway.store.writer import LOOK
from tests.faults.observing import KINDS, MESSAGE, Health, ask, booking, counters, risen, rows
from tests.faults.table import Row, Table
from tests.faults.upstream_faults import BODY
from tests.servers import postgres, redis
from tests.support import gateway as gateways
from tests.support.client import Client, Stream
from tests.support.gateway import ADMIN_KEY, ROOT, UPSTREAM_KEY, Gateway, eventually
from tests.support.keys import new_key
from tests.support.proxy import proxied
from tests.support.recorder import Gate, Received, Recorder, answer, stream
from tests.support.transcripts import SHORT, events

STREAMS = 100
SOON = 20.0
DAY = 86_400
SSE = events(SHORT)
STREAM_MESSAGE = MESSAGE | {"stream": True}


def _reply(request: Received) -> list[object]:
    return stream(SSE) if b'"stream"' in request.body else answer(body=BODY)


@contextmanager
def serving(
    folder: Path, upstream: Recorder, settings: Mapping[str, str], program: Sequence[str] = ("main.py",)
) -> Iterator[tuple[Gateway, Client]]:
    """A gateway, and a caller whose key has places and a budget."""
    upstream.reply = _reply  # type: ignore[assignment]
    fixed = {"ANTHROPIC_API_KEY": UPSTREAM_KEY, "ANTHROPIC_BASE_URL": upstream.url}
    with gateways.running(folder, fixed | dict(settings), program) as gateway:
        _, caller = new_key(
            gateway,
            "caller",
            scopes=["messages"],
            concurrency=STREAMS,
            requests_per_minute=10_000,
            usd_per_day=1000,
        )
        check_works(caller)
        yield gateway, caller


@pytest.fixture
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


def asked(caller: Client) -> dict[str, str]:
    return {kind.name: ask(caller, kind).outcome(native=kind.native) for kind in KINDS}


def check_works(caller: Client) -> None:
    assert set(asked(caller).values()) == {"200"}


def works_again(caller: Client) -> bool | None:
    return set(asked(caller).values()) == {"200"} or None


@contextmanager
def under_way(caller: Client, upstream: Recorder, gate: Gate) -> Iterator[Stream]:
    """A stream that has begun and goes on when the gate opens; other calls are answered as ever."""
    upstream.reply = lambda _: stream(SSE[:200], gate, SSE[200:])
    with caller.open("POST", "/v1/messages", STREAM_MESSAGE) as running:
        running.until(b"message_start")
        upstream.reply = _reply  # type: ignore[assignment]
        yield running


def rest_of(running: Stream) -> str:
    """How a stream ended."""
    return "200" if running.read().endswith(SSE[-20:]) else "cut"


def test_disk_full(tmp_path: Path, table: Table, upstream: Recorder) -> None:
    """No file of the process can grow: not the database, not its log."""
    with serving(tmp_path, upstream, {}) as (gateway, caller):
        health, before, gate = Health(gateway), counters(gateway), Gate()
        with under_way(caller, upstream, gate) as running:
            limits = resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
            assert gateway.call("GET", "/health/ready").status == 200
            outcomes = asked(caller)
            assert gateway.call("GET", "/health/live").status == 200
            ready = gateway.call("GET", "/health/ready")
            assert (ready.status, ready.json()["checks"]["database"]) == (503, False)
            gate.open()
            outcomes["stream that runs"] = rest_of(running)
        resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, limits)
        eventually(lambda: not rows(gateway.data, "status = 'started'") or None, SOON)
        eventually(lambda: works_again(caller), SOON)
        assert gateway.call("GET", "/health/ready").status == 200
        health.check()
        row = rows(gateway.data)[4]
        assert (row["status"], row["input_tokens"], row["output_tokens"]) == ("done", 25, 89)
        table.saw(
            Row("host", "disk full", outcomes, booking(row), _telling(risen(before, counters(gateway))))
        )


def test_database_removed(tmp_path: Path, table: Table, upstream: Recorder) -> None:
    """SQLite would go on in a file that nobody finds again."""
    with serving(tmp_path, upstream, {}) as (gateway, caller):
        health, before, gate = Health(gateway), counters(gateway), Gate()
        with under_way(caller, upstream, gate) as running:
            there, away = gateway.data / "gateway.db", tmp_path / "away.db"
            there.rename(away)
            time.sleep(2 * LOOK)
            outcomes = asked(caller)
            assert gateway.call("GET", "/health/live").status == 200
            assert gateway.call("GET", "/health/ready").status == 503
            there.write_bytes(b"")
            time.sleep(2 * LOOK)
            assert asked(caller) == outcomes, "another file is not the one that was opened"
            gate.open()
            outcomes["stream that runs"] = rest_of(running)
        there.unlink()
        away.rename(there)
        eventually(lambda: not rows(gateway.data, "status = 'started'") or None, SOON)
        eventually(lambda: works_again(caller), SOON)
        assert gateway.call("GET", "/health/ready").status == 200
        health.check()
        row = rows(gateway.data)[4]
        assert (row["status"], row["input_tokens"], row["output_tokens"]) == ("done", 25, 89)
        seen = _telling(risen(before, counters(gateway)))
        table.saw(Row("host", "database file removed and put back", outcomes, booking(row), seen))


def test_database_held(tmp_path: Path, table: Table, upstream: Recorder) -> None:
    """Another program writes to the file, and takes a while."""
    with serving(tmp_path, upstream, {}) as (gateway, caller):
        health, before = Health(gateway), counters(gateway)
        with closing(sqlite3.connect(gateway.data / "gateway.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with ThreadPoolExecutor() as threads:
                asking = threads.submit(asked, caller)
                time.sleep(1)
                assert not asking.done()
                other.execute("COMMIT")
                outcomes = asking.result()
        health.check()
        booked = {booking(row) for row in rows(gateway.data)}
        moved = risen(before, counters(gateway))
        table.saw(
            Row("host", "database held by another program", outcomes, " / ".join(sorted(booked)), moved)
        )


def _telling(metrics: list[str]) -> list[str]:
    """Without the answers to calls that were repeated until they worked."""
    return [name for name in metrics if not name.startswith(("rejections", "requests", "db_write"))]


def _start(folder: Path, settings: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Start a gateway that cannot."""
    environment = os.environ | {"UPSTREAM": "sandbox", "PORT": "0", "GATEWAY_ADMIN_KEY": ADMIN_KEY}
    paths = {"DATA_DIR": str(folder / "data"), "CONFIG_DIR": str(folder / "config")}
    return subprocess.run(
        [sys.executable, "main.py", "--env-file", os.devnull],
        cwd=ROOT,
        env=environment | paths | dict(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_read_only_disk(tmp_path: Path, table: Table) -> None:
    ended = _start(tmp_path, {"DATA_DIR": "/proc/read-only"})

    assert ended.returncode
    assert "DATA_DIR: /proc/read-only cannot be written" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    table.saw(
        Row("host", "a data folder that is read-only", {"start": "refused: names folder, user and remedy"})
    )


def test_corrupt_database(tmp_path: Path, table: Table) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "gateway.db").write_bytes(b"no database at all " * 1000)

    ended = _start(tmp_path, {})

    assert ended.returncode
    assert "gateway.db" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    assert (tmp_path / "data" / "gateway.db").read_bytes().startswith(b"no database at all ")
    table.saw(Row("host", "a corrupt database", {"start": "refused: names the file, which is left as it is"}))


@pytest.mark.parametrize(
    ("fault", "seconds"),
    {"a clock that jumps a day ahead": DAY, "a clock that jumps a day back": -DAY}.items(),
)
def test_clock(tmp_path: Path, table: Table, upstream: Recorder, fault: str, seconds: int) -> None:
    offset = tmp_path / "offset"
    offset.write_text("0")
    program = ("-m", "tests.faults.jumping_clock")
    with serving(tmp_path, upstream, {"CLOCK_OFFSET": str(offset)}, program) as (gateway, caller):
        health, before, gate = Health(gateway), counters(gateway), Gate()
        with under_way(caller, upstream, gate) as running:
            offset.write_text(str(seconds))
            outcomes = asked(caller)
            gate.open()
            outcomes["stream that runs"] = rest_of(running)
        eventually(lambda: not rows(gateway.data, "status = 'started'") or None, SOON)
        health.check()
        booked = {booking(row) for row in rows(gateway.data)}
        table.saw(Row("host", fault, outcomes, " / ".join(sorted(booked)), risen(before, counters(gateway))))
        check_works(caller)


def test_redis_gone(tmp_path: Path, table: Table, upstream: Recorder) -> None:
    """Limits are counted in the process meanwhile."""
    with redis() as (url, _), proxied(urlsplit(url).port or 0) as proxy:
        settings = {"RATE_LIMIT_STORAGE": f"redis://127.0.0.1:{proxy.port}/0"}
        with serving(tmp_path, upstream, settings) as (gateway, caller):
            health, before = Health(gateway), counters(gateway)
            with proxy.gone():
                outcomes = asked(caller)
            assert gateway.metric("anthropic_gateway_limits_storage_failures_total") > 0
            eventually(lambda: works_again(caller), SOON)
            health.check()
            moved = [name for name in risen(before, counters(gateway)) if name.startswith("limits_")]
            table.saw(Row("host", "Redis gone and back", outcomes, "exact", moved))


def test_postgres_gone(tmp_path: Path, table: Table, upstream: Recorder) -> None:
    """What cannot be booked is not begun; what was begun is booked when the database is back."""
    with postgres() as url, proxied(urlsplit(url).port or 0) as proxy:
        through = url.replace("postgresql:", "postgresql+psycopg:").replace(
            f":{urlsplit(url).port}", f":{proxy.port}"
        )
        with serving(tmp_path, upstream, {"DATABASE_URL": through}) as (gateway, caller):
            gate = Gate()
            with under_way(caller, upstream, gate) as running, proxy.gone():
                outcomes = asked(caller)
                assert gateway.call("GET", "/health/live").status == 200
                assert gateway.call("GET", "/health/ready").status == 503
                gate.open()
                outcomes["stream that runs"] = rest_of(running)
            eventually(lambda: works_again(caller), SOON)

            def settled() -> bool | None:
                usage = gateway.call("GET", "/api/v1/usage").json()["data"]["total"]
                nothing = (
                    gateway.metric('anthropic_gateway_budget_reserved_dollars{key="caller",window="day"}')
                    == 0
                )
                return (
                    usage["estimated_requests"] == 0 and usage["output_tokens"] % 89 == 0 and nothing
                ) or None

            eventually(settled, SOON)
            table.saw(Row("host", "PostgreSQL gone and back", outcomes, "exact"))


def _open_streams(caller: Client, upstream: Recorder, gate: Gate) -> list[Stream]:
    upstream.reply = lambda _: stream(SSE[:200], gate, SSE[200:])
    begun = [caller.begin("POST", "/v1/messages", STREAM_MESSAGE) for _ in range(STREAMS)]
    streams = [Stream(connection) for connection in begun]
    for running in streams:
        running.until(b"message_start")
    return streams


def test_sigterm(tmp_path: Path, table: Table, upstream: Recorder) -> None:
    with serving(tmp_path, upstream, {"SHUTDOWN_GRACE_SECONDS": "30"}) as (gateway, caller):
        gate = Gate()
        streams = _open_streams(caller, upstream, gate)
        gateway.terminate()
        eventually(lambda: gateway.call("GET", "/health/ready").status == 503 or None, SOON)
        outcomes = asked(caller)
        gate.open()
        with ThreadPoolExecutor(STREAMS) as pool:
            ends = list(pool.map(Stream.read, streams))
        for running in streams:
            running.hang_up()
        assert all(end.endswith(SSE[-20:]) for end in ends)
        outcomes["100 streams that run"] = "200"
        assert gateway.process.wait(SOON) == 0
        ledger = rows(gateway.data)
        assert len(ledger) == STREAMS + len(KINDS)
        assert {row["status"] for row in ledger} == {"done"}
        table.saw(
            Row(
                "host",
                "SIGTERM with 100 streams",
                outcomes,
                "exact",
                ['rejections_total{reason="unavailable"}'],
            )
        )


def test_kill(tmp_path: Path, table: Table, upstream: Recorder) -> None:
    """No call is missing in the ledger, and no reservation stays."""
    with serving(tmp_path, upstream, {}) as (gateway, caller):
        gate = Gate()
        streams = _open_streams(caller, upstream, gate)
        gateway.process.send_signal(signal.SIGKILL)
        gateway.process.wait(SOON)
        for running in streams:
            with pytest.raises(Exception, match=r"Incomplete|reset"):
                running.read()
            running.hang_up()
        gate.open()
    upstream.reply = _reply  # type: ignore[assignment]
    fixed = {"ANTHROPIC_API_KEY": UPSTREAM_KEY, "ANTHROPIC_BASE_URL": upstream.url}
    with gateways.running(tmp_path, fixed) as gateway:
        again = Client(gateway.url, caller.key)
        check_works(again)
        eventually(lambda: not rows(gateway.data, "status = 'started'") or None, SOON)
        ledger = rows(gateway.data)
        assert len(ledger) == STREAMS + 2 * len(KINDS)
        cut = [row for row in ledger if row["status"] == "interrupted"]
        assert len(cut) == STREAMS
        assert gateway.metric('anthropic_gateway_budget_reserved_dollars{key="caller",window="day"}') == 0
        booked = " / ".join(sorted({booking(row) for row in cut}))
        table.saw(
            Row(
                "host",
                "kill -9 with 100 streams, and a new start",
                {"100 streams that run": "200, then cut", "next calls": "200"},
                booked,
            )
        )
