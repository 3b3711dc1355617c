"""Several workers behind one port, as real processes: their metrics are one sum, and one that is killed is
replaced while the others serve."""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import servers
from tests.conftest import RELAY_SETTINGS
from tests.support import gateway as gateways
from tests.support.client import Client
from tests.support.gateway import SOON, Gateway, eventually
from tests.support.keys import new_key
from tests.support.messages import MODEL, message
from tests.support.recorder import Gate, Recorder, stream
from tests.support.transcripts import SHORT, events

MESSAGE = {"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
COST = Decimal("0.000033")
"""Of one answer: 1 token in, 2 out."""

WORKERS = 2
DEADLINE = 90.0
"""Seconds, on a machine that does a lot besides."""

CALLS = 60
UP = "anthropic_gateway_workers"
ASKED = "anthropic_gateway_upstream_requests_total"


class Workers(NamedTuple):
    gateway: Gateway
    upstream: Recorder
    folder: Path

    def pids(self) -> list[int]:
        """The workers' process ids: a process that the supervisor has started forks them."""
        started = children(self.gateway.process.pid)
        return [worker for process in started for worker in children(process)]

    def wait_for_all(self) -> None:
        """Until all workers serve. A connection to one that is not ready yet waits."""

        def found() -> bool | None:
            with contextlib.suppress(OSError, HTTPException):
                return self.gateway.metrics(UP) == WORKERS or None
            return None

        eventually(found, DEADLINE)

    def client(self, **fields: Any) -> Client:
        """A client with a new key that each worker knows already."""
        _, app = new_key(self.gateway, f"app {time.monotonic_ns()}", **fields)
        known = 0
        while known < 20:  # in a row: whichever worker accepts
            known = known + 1 if app.call("GET", "/api/v1/usage").status == 200 else 0
            time.sleep(0.02)
        return app

    def tells(self, name: str, expected: float, **labels: str) -> None:
        """Fails unless a metric becomes this: other workers' counts are up to a second old."""
        eventually(lambda: self.gateway.metrics(name, **labels) == expected or None, 20)

    def counted(self) -> list[float]:
        """What each worker has counted by itself, from the files that they write for each other."""
        [folder] = self.folder.glob("gateway-workers-*")
        found = (json.loads(path.read_bytes()) for path in folder.glob("worker-*.json"))
        name = ASKED.removesuffix("_total")
        return [sum(value for _, value in snapshot["values"][name]) for snapshot in map(_whole, found)]


def _whole(snapshot: dict[str, Any]) -> dict[str, Any]:
    return {"values": snapshot}


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def lives(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    with servers.redis() as (url, _):
        yield url


@contextlib.contextmanager
def working(folder: Path, redis: str, **settings: str) -> Iterator[Workers]:
    with Recorder() as upstream:
        upstream.reply = lambda _: message(2, 1, wait=0.02)
        variables = RELAY_SETTINGS | {
            "ANTHROPIC_BASE_URL": upstream.url,
            "ANTHROPIC_TIMEOUT": "60",
            "RATE_LIMIT_STORAGE": redis,
            "WORKERS": str(WORKERS),
            **settings,
        }
        with gateways.running(folder, variables) as gateway:
            workers = Workers(gateway, upstream, folder)
            workers.wait_for_all()
            yield workers


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory, redis: str) -> Iterator[Workers]:
    with working(tmp_path_factory.mktemp("workers"), redis) as running:
        yield running


def ask(client: Client) -> int:
    """The status of one call; 0 when its worker was killed meanwhile."""
    try:
        return client.call("POST", "/v1/messages", MESSAGE).status
    except (OSError, HTTPException):
        return 0


def at_once(client: Client, count: int) -> list[int]:
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda _: ask(client), range(count)))


def test_whichever_worker_is_asked_tells_the_sum(workers: Workers) -> None:
    before = workers.gateway.metrics(ASKED)

    assert at_once(workers.gateway, CALLS) == [200] * CALLS

    workers.tells(ASKED, before + CALLS)
    assert {workers.gateway.metrics(ASKED) for _ in range(20)} == {before + CALLS}
    assert min(workers.counted()) > 0, "one worker has served all"


def test_the_counts_are_the_ledgers(workers: Workers) -> None:
    app = workers.client()
    assert at_once(app, CALLS) == [200] * CALLS

    booked = eventually(lambda: next((row for row in usage(app) if row["requests"] == CALLS), None), SOON)
    key = booked["key"]
    workers.tells("anthropic_gateway_tokens_total", 2 * CALLS, key=key, type="output")
    cost = workers.gateway.metrics("anthropic_gateway_cost_dollars_total", key=key)
    assert Decimal(repr(cost)) == Decimal(usage(app)[0]["cost_usd"]) == COST * CALLS


def usage(app: Client) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = app.call("GET", "/api/v1/usage?group_by=key").json()["data"]["rows"]
    return rows


def test_limits_hold_over_all_workers(workers: Workers) -> None:
    limited = workers.client(requests_per_minute=40)
    statuses = at_once(limited, CALLS)

    assert statuses.count(200) <= 40
    assert set(statuses) == {200, 429}


def test_budgets_hold_over_all_workers(workers: Workers) -> None:
    poor = workers.client(usd_per_day=0.001)
    statuses = at_once(poor, CALLS)

    assert set(statuses) <= {200, 402, 429}
    spent = Decimal(poor.call("GET", "/api/v1/usage").json()["data"]["total"]["cost_usd"])
    assert spent <= Decimal("0.001") + COST


def test_a_killed_worker_is_replaced_and_no_count_goes_back(workers: Workers) -> None:
    shown = [workers.gateway.metrics(ASKED)]
    restarts = workers.gateway.metrics("anthropic_gateway_worker_restarts_total")
    before = workers.pids()
    assert len(before) == WORKERS

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(ask, workers.gateway) for _ in range(2 * CALLS)]
        os.kill(before[0], signal.SIGKILL)
        while not all(call.done() for call in calls):
            with contextlib.suppress(OSError, HTTPException):  # the killed one had just accepted it
                shown.append(workers.gateway.metrics(ASKED))
        statuses = [call.result() for call in calls]
    after = eventually(lambda: found if len(found := workers.pids()) == WORKERS else None, DEADLINE)
    workers.wait_for_all()
    shown += [workers.gateway.metrics(ASKED) for _ in range(10)]

    assert before[0] not in after
    assert before[1] in after
    assert statuses.count(200) > CALLS, "what the other worker has accepted is served"
    assert set(statuses) <= {0, 200}
    assert shown == sorted(shown)
    assert workers.gateway.metrics("anthropic_gateway_worker_restarts_total") == restarts + 1
    [line] = [line for line in workers.gateway.log() if line["event"] == "A worker died"]
    assert line["exit_code"] == -signal.SIGKILL


def test_a_worker_is_replaced_although_its_counts_cannot_be_kept(tmp_path: Path, redis: str) -> None:
    with working(tmp_path, redis) as workers:
        [folder] = tmp_path.glob("gateway-workers-*")
        (folder / "dead.draft").mkdir()  # root, too, cannot write there
        before = workers.pids()
        os.kill(before[0], signal.SIGKILL)

        eventually(lambda: len(set(workers.pids()) - set(before)) == 1 or None, DEADLINE)
        assert at_once(workers.gateway, 20).count(200) == 20
        assert before[1] in workers.pids()


def test_on_postgresql_each_worker_finishes_what_it_has_begun(tmp_path: Path, redis: str) -> None:
    gate, begin, rest = Gate(), events(SHORT[:3]), events(SHORT[3:])
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(servers.postgres()).replace("postgresql://", "postgresql+psycopg://")
        workers = stack.enter_context(working(tmp_path, redis, DATABASE_URL=url))
        gateway = workers.gateway
        assert at_once(gateway, 20) == [200] * 20
        workers.tells(ASKED, 20)
        workers.tells("anthropic_gateway_cost_dollars_total", float(20 * COST))

        workers.upstream.script(*[stream(begin, gate, rest)] * 8)
        streams = [
            stack.enter_context(gateway.open("POST", "/v1/messages", MESSAGE | {"stream": True}))
            for _ in range(8)
        ]
        for each in streams:
            each.until(begin[-40:])

        gateway.terminate()
        refused = eventually(
            lambda: got if (got := gateway.call("POST", "/v1/messages", MESSAGE)).status == 503 else None,
            SOON,
        )
        assert int(refused.header("retry-after") or 0) > 0

        gate.open()
        assert [each.read() for each in streams] == [rest] * 8
        assert gateway.process.wait(20) == 0
        assert gateway.log()[-1]["event"] == "Gateway stopped"
        assert not list(tmp_path.glob("gateway-workers-*"))


def test_workers_do_not_outlive_their_supervisor(tmp_path: Path, redis: str) -> None:
    with working(tmp_path, redis, LOG_DIR=str(tmp_path / "logs")) as workers:
        assert at_once(workers.gateway, 20) == [200] * 20
        pids = workers.pids()
        workers.gateway.process.kill()
        workers.gateway.process.wait()

        eventually(lambda: not any(map(lives, pids)) or None, DEADLINE)
        logs = {path.relative_to(tmp_path / "logs") for path in (tmp_path / "logs").rglob("gateway.log")}
        assert logs == {Path("gateway.log"), Path("worker-1/gateway.log"), Path("worker-2/gateway.log")}


def test_a_port_that_is_taken_is_told_in_one_line(tmp_path: Path, redis: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = RELAY_SETTINGS | {"RATE_LIMIT_STORAGE": redis, "WORKERS": "2", "PORT": str(port)}
        told = f"cannot listen on 127.0.0.1, port {port}: "
        with pytest.raises(AssertionError, match=told), gateways.running(tmp_path, settings):
            pytest.fail("it runs")
