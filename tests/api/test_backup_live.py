"""A backup that is made while a server writes, put back elsewhere, and started there."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway import cli
from gateway.settings import VARIABLES
from tests.support import gateway as gateways
from tests.support.gateway import Gateway, eventually

SETTINGS = {"UPSTREAM": "sandbox"}
MESSAGE = {"model": "claude-haiku-4-5", "max_tokens": 16, "messages": [{"role": "user", "content": "Hi"}]}
WRITERS = 4


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def command(data: Path, *arguments: str | Path) -> int:
    env_file = data.parent / "env"
    env_file.write_text(f"UPSTREAM=sandbox\nDATA_DIR={data}\nCONFIG_DIR={data.parent / 'config'}\n")
    return cli.main(["--env-file", str(env_file), *map(str, arguments)])


@contextmanager
def load(gateway: Gateway, keys: list[str]) -> Iterator[None]:
    """Calls that go on until the context ends."""
    stop = threading.Event()
    failures: list[Any] = []

    def work(number: int) -> None:
        while not stop.is_set():
            answer = gateway.call(
                "POST", "/v1/messages", MESSAGE, [("x-api-key", keys[number % len(keys)])], with_key=False
            )
            if answer.status != 200:
                failures.append(answer)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures


def make_key(gateway: Gateway, name: str) -> str:
    body = {"name": name, "budget": {"usd_per_day": 1000, "usd_per_month": 10_000}}
    answer = gateway.call("POST", "/api/v1/keys", body)
    assert answer.status == 201
    return str(answer.json()["data"]["key"])


def usage(gateway: Gateway) -> Any:
    return gateway.call("GET", "/api/v1/usage").json()["data"]


def rows(database: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(database)) as connection:
        names = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        return {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in names}


def test_backup_under_load_and_start_elsewhere(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    middle, last = tmp_path / "middle.tar", tmp_path / "last.tar"
    with gateways.running(here, SETTINGS) as gateway:
        keys = [make_key(gateway, name) for name in ("kitchen", "garden")]
        with load(gateway, keys):
            eventually(lambda: usage(gateway)["total"]["requests"] or None, 10.0)
            assert command(gateway.data, "backup", middle) == 0
            assert command(gateway.data, "verify") == 0
        assert command(gateway.data, "restore", middle, "--force") == 1
        assert command(gateway.data, "backup", last) == 0
        before = usage(gateway)

    assert command(there / "data", "restore", last) == 0
    restored = rows(there / "data" / "gateway.db")
    assert len(restored["calls"]) == before["total"]["requests"]
    with gateways.running(there, SETTINGS) as gateway:
        assert usage(gateway) == before
        answer = gateway.call("POST", "/v1/messages", MESSAGE, [("x-api-key", keys[0])], with_key=False)
        assert answer.status == 200
        names = {key["name"] for key in gateway.call("GET", "/api/v1/keys").json()["data"]["data"]}
        assert names == {"kitchen", "garden"}

    # The one from the middle of the load holds calls under way, and its sums hold.
    assert command(there / "data", "verify", middle) == 0
    assert command(there / "data", "restore", middle, "--force") == 0
    assert 0 < len(rows(there / "data" / "gateway.db")["calls"]) <= before["total"]["requests"]
