"""Two gateways on one PostgreSQL: idempotency keys and asynchronous messages hold over both."""

import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Any, NamedTuple

import psycopg
import pytest

from tests import servers
from tests.conftest import RELAY_SETTINGS
from tests.support import gateway as gateways
from tests.support.client import Client
from tests.support.gateway import Gateway, eventually
from tests.support.keys import new_key
from tests.support.recorder import Gate, Recorder, answer, stream
from tests.support.transcripts import SHORT, events

PATH = "/api/v1/messages/async"
BODY: dict[str, Any] = {
    "model": "claude-sonnet-4-20250514",
    "max_tokens": 5,
    "messages": [{"role": "user", "content": "Hi"}],
}
MESSAGE = (
    b'{ "id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-20250514",'
    b'"content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","stop_sequence":null,'
    b'"usage":{"input_tokens":3,"output_tokens":2} }'
)
SOON = 10.0


class Replicas(NamedTuple):
    one: Gateway
    two: Gateway
    upstream: Recorder
    database: str

    def clients(self) -> list[Client]:
        """A new key at each replica, once both know it."""
        _, app = new_key(self.one, f"replicas {uuid.uuid4()}")
        other = Client(self.two.url, app.key)
        eventually(lambda: other.call("GET", "/api/v1/usage").status == 200 or None, SOON)
        return [app, other]


@pytest.fixture(scope="module")
def _replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    with servers.postgres() as database, servers.redis() as (storage, _), Recorder() as upstream:
        settings = RELAY_SETTINGS | {
            "ANTHROPIC_BASE_URL": upstream.url,
            "ANTHROPIC_TIMEOUT": "60",
            "DATABASE_URL": database.replace("postgresql://", "postgresql+psycopg://"),
            "RATE_LIMIT_STORAGE": storage,
        }
        with gateways.running(folders[0], settings) as one, gateways.running(folders[1], settings) as two:
            yield Replicas(one, two, upstream, database)
    for folder in folders:
        assert not (folder / "data" / "results").exists()  # all of it is in the database


@pytest.fixture
def replicas(_replicas: Replicas) -> Replicas:
    _replicas.upstream.reset()
    return _replicas


def get(client: Client, path: str) -> dict[str, Any]:
    data: dict[str, Any] = client.call("GET", path).json()["data"]
    return data


def reached(client: Client, path: str, status: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        data = get(client, path)
        return data if data["status"] == status else None

    return eventually(look, SOON)


def test_two_hundred_duplicates_over_both_make_one_call(replicas: Replicas) -> None:
    clients = cycle(replicas.clients())
    replicas.upstream.reply = lambda _: [0.3, *answer(body=MESSAGE)]
    key = ("idempotency-key", str(uuid.uuid4()))
    with ThreadPoolExecutor(40) as pool:
        calls = [pool.submit(next(clients).call, "POST", "/v1/messages", BODY, [key]) for _ in range(200)]
        answers = [call.result() for call in calls]

    assert len(replicas.upstream.requests) == 1
    statuses = Counter(answer.status for answer in answers)
    assert set(statuses) <= {200, 409}
    assert {answer.body for answer in answers if answer.status == 200} == {MESSAGE}


def test_a_replay_at_the_other_replica(replicas: Replicas) -> None:
    here, there = replicas.clients()
    text = events(SHORT).replace(b"Hello", b"Hello " * 300_000)  # several rows
    replicas.upstream.script(stream(text))
    key = ("idempotency-key", str(uuid.uuid4()))
    body = {**BODY, "stream": True}
    first = here.call("POST", "/v1/messages", body, [key])
    second = there.call("POST", "/v1/messages", body, [key])
    assert first.body == text
    assert (second.status, second.body) == (200, text)
    assert second.header("idempotency-replayed") == "true"
    assert len(replicas.upstream.requests) == 1


def test_a_message_is_seen_and_cancelled_at_the_other_replica(replicas: Replicas) -> None:
    here, there = replicas.clients()
    gate = Gate()
    replicas.upstream.script([gate])
    path = str(here.call("POST", PATH, BODY).header("location"))
    request = replicas.upstream.wait_for(1)
    reached(there, path, "running")

    assert there.call("DELETE", path).json()["data"]["outcome"] == "canceled"

    request.wait_until_left(SOON)
    assert get(here, path)["status"] == "canceled"
    gate.open()


def test_what_a_replica_that_dies_has_left(replicas: Replicas, tmp_path: Any) -> None:
    """What ran is interrupted, what waited runs at another replica, once its lease is over."""
    settings = RELAY_SETTINGS | {
        "ANTHROPIC_BASE_URL": replicas.upstream.url,
        "DATABASE_URL": replicas.database.replace("postgresql://", "postgresql+psycopg://"),
        "ASYNC_MESSAGE_CONCURRENCY": "1",
    }
    gate = Gate()
    replicas.upstream.script([gate], answer(body=MESSAGE))
    with gateways.running(tmp_path, settings) as third:
        running, waiting = (str(third.call("POST", PATH, BODY).header("location")) for _ in range(2))
        replicas.upstream.wait_for(1)
        reached(replicas.one, running, "running")
        assert get(replicas.one, waiting)["status"] == "queued"
        third.process.kill()
    with psycopg.connect(replicas.database, autocommit=True) as database:
        rows = database.execute("SELECT id FROM instances ORDER BY id").fetchall()
        database.execute("UPDATE instances SET expires_at = 0 WHERE id = %s", rows[-1])

    eventually(lambda: get(replicas.two, running)["status"] == "interrupted" or None, 30)
    interrupted = get(replicas.two, running)
    assert interrupted["cost_estimated"] is True
    assert reached(replicas.two, waiting, "succeeded")["message"]["id"] == "msg_1"
    assert len(replicas.upstream.requests) == 2
    gate.open()
