"""Two gateways on one PostgreSQL and one Redis, both real: limits and budgets hold over both, as keys do."""

import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import NamedTuple

import pytest

from tests import servers
from tests.conftest import RELAY_SETTINGS
from tests.support import gateway as gateways
from tests.support.client import Client
from tests.support.gateway import SOON, Gateway, eventually
from tests.support.keys import new_key
from tests.support.messages import MODEL, message
from tests.support.recorder import Gate, Recorder

ANSWER = 1000
"""Output tokens of each answer: a cent and a half."""


class Replicas(NamedTuple):
    gateways: list[Gateway]
    upstream: Recorder
    redis: "subprocess.Popen[bytes]"

    def clients(self, app: Client) -> list[Client]:
        """The same key at each replica, once both know it."""
        clients = [Client(gateway.url, app.key) for gateway in self.gateways]
        for client in clients:
            eventually(lambda client=client: client.call("GET", "/api/v1/usage").status == 200 or None, SOON)
        return clients


@pytest.fixture(scope="module")
def _replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    with servers.postgres() as database, servers.redis() as (storage, redis), Recorder() as upstream:
        settings = RELAY_SETTINGS | {
            "ANTHROPIC_BASE_URL": upstream.url,
            "DATABASE_URL": database.replace("postgresql://", "postgresql+psycopg://"),
            "RATE_LIMIT_STORAGE": storage,
        }
        with gateways.running(folders[0], settings) as one, gateways.running(folders[1], settings) as two:
            yield Replicas([one, two], upstream, redis)


@pytest.fixture
def replicas(_replicas: Replicas) -> Replicas:
    _replicas.upstream.reset()
    _replicas.upstream.reply = lambda _: message(ANSWER, wait=0.01)
    return _replicas


def call(app: Client) -> int:
    text = [{"role": "user", "content": "Hello"}]
    body = {"model": MODEL, "max_tokens": ANSWER, "messages": text}
    return app.call("POST", "/v1/messages", body).status


def at_once(clients: list[Client], count: int) -> list[int]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda number: call(clients[number % 2]), range(count)))


UP = "anthropic_gateway_limits_storage_up"
FAILURES = "anthropic_gateway_limits_storage_failures_total"


def test_requests_a_minute_are_counted_together(replicas: Replicas) -> None:
    for attempt in range(5):
        for gateway in replicas.gateways:
            eventually(lambda gateway=gateway: gateway.metric(UP) or None, SOON)
        failures = [gateway.metric(FAILURES) for gateway in replicas.gateways]
        _, app = new_key(replicas.gateways[0], f"shared rpm {attempt}", requests_per_minute=30)

        statuses = at_once(replicas.clients(app), 60)

        if [gateway.metric(FAILURES) for gateway in replicas.gateways] == failures:
            break  # on a busy machine Redis may answer too late, and each replica counts for itself

    assert (statuses.count(200), statuses.count(429)) == (30, 30)


def test_tokens_a_minute_are_counted_together(replicas: Replicas) -> None:
    _, app = new_key(replicas.gateways[0], "shared otpm", output_tokens_per_minute=ANSWER)
    here, there = replicas.clients(app)

    assert call(here) == 200
    eventually(lambda: call(here) == 429 or None, SOON)  # what was answered is counted after its answer
    assert call(there) == 429


def test_calls_at_a_time_are_counted_together(replicas: Replicas) -> None:
    _, app = new_key(replicas.gateways[0], "shared places", concurrency=3)
    gate = Gate()
    replicas.upstream.reply = lambda _: [gate, *message(ANSWER, wait=0.01)]
    clients = replicas.clients(app)

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(call, clients[number % 2]) for number in range(8)]
        replicas.upstream.wait_for(3)
        time.sleep(0.3)
        assert len(replicas.upstream.requests) == 3
        gate.open()
        assert [done.result() for done in calls] == [200] * 8


def test_a_budget_is_spent_together(replicas: Replicas) -> None:
    _, app = new_key(replicas.gateways[0], "shared dollar", usd_per_day=1)
    clients = replicas.clients(app)

    statuses = at_once(clients, 200)

    assert set(statuses) <= {200, 402}
    one_call = Decimal(10 * 3 + ANSWER * 15) / 1_000_000
    totals = [client.call("GET", "/api/v1/usage").json()["data"]["total"] for client in clients]
    assert totals[0] == totals[1]
    assert totals[0]["requests"] == statuses.count(200) == len(replicas.upstream.requests)
    assert Decimal(1) <= Decimal(totals[0]["cost_usd"]) < 1 + one_call


def test_without_redis_requests_go_on_within_fifty_milliseconds(replicas: Replicas) -> None:
    _, app = new_key(replicas.gateways[0], "no redis", requests_per_minute=20, concurrency=50)
    here, there = replicas.clients(app)
    assert call(here) == 200
    usual = sorted(_timed(there) for _ in range(5))[2]
    assert replicas.gateways[0].metric(UP) == 1

    replicas.redis.send_signal(signal.SIGSTOP)
    try:
        times = [_timed(here) for _ in range(10)]
        # The first wait in vain, the rest leave Redis alone. The quickest is least held up by the machine.
        assert min(times[:3]) - usual < 0.05 + 0.2
        assert replicas.gateways[0].metric(UP) == 0
        assert 3 <= replicas.gateways[0].metric("anthropic_gateway_limits_storage_failures_total") < 10
        # Each replica counts for itself now: twenty a minute here, whatever Redis has seen.
        statuses = [call(here) for _ in range(15)]
        assert statuses == [200] * 10 + [429] * 5
    finally:
        replicas.redis.send_signal(signal.SIGCONT)


def _timed(app: Client) -> float:
    started = time.perf_counter()
    assert call(app) == 200
    return time.perf_counter() - started
