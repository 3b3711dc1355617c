"""Once an hour: what is too old goes, and what is left is measured."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest

from gateway import upkeep as module
from gateway.audit import Audit, verify
from gateway.keys import Key
from gateway.ledger import Ledger, usage_report
from gateway.prices import PriceTable
from gateway.settings import Settings
from gateway.store import Store
from gateway.upkeep import DAY, Upkeep
from gateway.usage import Usage
from tests.support.clock import Clock

MODEL = "claude-sonnet-4-20250514"
APP = Key("key_app", "app", frozenset())


class Parts(NamedTuple):
    clock: Clock
    store: Store
    ledger: Ledger
    audit: Audit
    upkeep: Upkeep

    async def call(self) -> None:
        entry = await self.ledger.begin(APP, "req", "messages_create", MODEL)
        self.ledger.settle(entry, Usage.read(MODEL, {"input_tokens": 10, "output_tokens": 1}))
        self.audit.record("key_admin", "create_key")
        await self.store.flush()


@pytest.fixture
async def parts(store: Store, tmp_path: Path) -> AsyncIterator[Parts]:
    clock = Clock()
    ledger = Ledger(store, PriceTable.load(), ZoneInfo("UTC"), clock)
    audit = Audit(store, None, clock)
    settings = Settings(
        upstream="sandbox",
        data_dir=tmp_path,
        ledger_retention_days=30,
        audit_retention_days=60,
        snapshot_retention_days=10,
    )
    yield Parts(clock, store, ledger, audit, Upkeep(settings, store, ledger, audit, {}, clock))
    await audit.close()
    await ledger.close()


async def test_each_goes_at_its_age_and_the_sums_stay(parts: Parts) -> None:
    for _ in range(3):
        await parts.call()
        parts.clock.now += 20 * DAY
    before = await usage_report(parts.store, str)

    await parts.upkeep.round()  # calls are 60, 40 and 20 days old

    assert parts.upkeep.rows == {
        "calls": 1,
        "usage_daily": 3,
        "audit": 3,
        "owners": 0,
        "contents": 0,
        "idempotency_keys": 0,
        "async_messages": 0,
    }
    assert await usage_report(parts.store, str) == before
    parts.clock.now += 21 * DAY
    await parts.upkeep.round()
    assert parts.upkeep.rows["calls"] == 0
    assert parts.upkeep.rows["audit"] == 2  # the last one that is too old stays: the chain hangs on it
    assert (await parts.store.read(verify)).broken_at is None


async def test_the_size_is_known(parts: Parts) -> None:
    await parts.upkeep.round()

    assert parts.upkeep.size > 10_000


async def test_old_snapshots_go_but_for_the_latest(parts: Parts, tmp_path: Path) -> None:
    folder = tmp_path / "snapshots"
    folder.mkdir()
    for age in (50, 40, 30):
        snapshot = folder / f"gateway-0001-{age}.db"
        snapshot.touch()
        os.utime(snapshot, (parts.clock.now - age * DAY,) * 2)

    await parts.upkeep.round()

    assert [path.name for path in folder.iterdir()] == ["gateway-0001-30.db"]


async def test_one_failure_keeps_nothing_else(parts: Parts, tmp_path: Path) -> None:
    async def fail() -> int:
        raise OSError("is a directory")

    await parts.call()
    parts.clock.now += 31 * DAY
    settings = Settings(upstream="sandbox", data_dir=tmp_path, ledger_retention_days=30)
    upkeep = Upkeep(settings, parts.store, parts.ledger, parts.audit, {"contents": fail}, parts.clock)

    await upkeep.round()

    assert upkeep.rows["calls"] == 0


async def test_a_round_that_fails_is_not_the_last(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.01)
    rounds, enough = [], asyncio.Event()

    async def fail(*_: object) -> int:
        rounds.append(time.monotonic())
        if len(rounds) == 6:
            enough.set()
        raise OSError("no space left")

    monkeypatch.setattr(parts.ledger, "prune", fail)
    monkeypatch.setattr(parts.store, "read", fail)  # which is no step of its own
    await parts.upkeep.start()
    async with asyncio.timeout(5):
        await enough.wait()
    await parts.upkeep.close()
