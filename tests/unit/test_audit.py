import asyncio
import json

import pytest
from sqlalchemy import select, text

from gateway import audit as module
from gateway.audit import Audit, Record, Verdict, chain, verify
from gateway.store import Store
from gateway.store.tables import audit as table
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(1_800_000_000.0)


@pytest.fixture
def audit(store: Store, clock: Clock) -> Audit:
    return Audit(store, now=clock)


async def rows(store):
    await store.flush()
    return await store.read(lambda c: c.execute(select(table).order_by(table.c.sequence)).all())


async def write(audit, store, count):
    for number in range(count):
        audit.record("key_admin", "create_key", f"key_{number}", {"name": f"app {number}"})
    await store.flush()


async def execute(store, statement, **parameters):
    await store.write(lambda session: session.connection.execute(text(statement), parameters))


async def test_rows_tell_who_did_what(audit, store):
    audit.record("key_admin", "create_key", "key_1", {"name": "kitchen", "budget": {"usd_per_day": 5}})
    (row,) = await rows(store)
    assert (row.sequence, row.at, row.actor, row.action, row.target) == (
        1, 1_800_000_000_000, "key_admin", "create_key", "key_1",
    )  # fmt: skip
    assert json.loads(row.detail) == {"name": "kitchen", "budget": {"usd_per_day": 5}}
    assert await store.read(verify) == Verdict(1, None)


async def test_an_empty_trail_is_whole(store):
    assert await store.read(verify) == Verdict(0, None)


@pytest.mark.parametrize(
    ("statement", "broken_at"),
    [
        ("UPDATE audit SET actor = 'key_other' WHERE sequence = 7", 7),
        ("UPDATE audit SET target = 'x' WHERE sequence = 1", 1),
        ("UPDATE audit SET detail = '{}' WHERE sequence = 20", 20),
        ("UPDATE audit SET at = at + 1 WHERE sequence = 3", 3),
        ("DELETE FROM audit WHERE sequence = 7", 7),
        ("DELETE FROM audit WHERE sequence = 20", 20),
        ("DELETE FROM audit", 1),
        ("UPDATE audit SET sequence = 21 WHERE sequence = 20", 20),
        ("UPDATE audit SET sequence = sequence + 100", 102),
    ],
)
async def test_tampering_is_found_at_its_place(audit, store, statement, broken_at):
    await write(audit, store, 20)
    assert await store.read(verify) == Verdict(20, None)
    await execute(store, statement)
    assert (await store.read(verify)).broken_at == broken_at


async def test_a_row_that_was_changed_with_its_own_hash_is_found_by_the_next(audit, store):
    await write(audit, store, 20)
    found = await rows(store)
    changed = Record(found[6].at, "key_other", *found[6][3:6])
    digest = chain(bytes(found[5].hash), 7, changed)
    await execute(store, "UPDATE audit SET actor = 'key_other', hash = :hash WHERE sequence = 7", hash=digest)
    assert (await store.read(verify)).broken_at == 8


async def test_old_rows_can_go_without_breaking_the_chain(audit, store, clock):
    await write(audit, store, 10)
    clock.now += 100
    await write(audit, store, 5)
    assert await audit.prune(clock.now - 50) == 9
    assert [row.sequence for row in await rows(store)] == list(range(10, 16))
    assert await store.read(verify) == Verdict(5, None)
    assert await audit.prune(clock.now - 50) == 0
    await execute(store, "UPDATE audit SET actor = 'x' WHERE sequence = 11")
    assert (await store.read(verify)).broken_at == 11


async def test_a_row_of_a_wrong_clock_takes_no_young_ones_with_it(audit, store, clock):
    await write(audit, store, 5)
    now, clock.now = clock.now, 0
    await write(audit, store, 1)
    clock.now = now
    await write(audit, store, 1)
    assert await audit.prune(clock.now - 50) == 0
    assert len(await rows(store)) == 7


async def test_a_flood_of_refusals_is_counted(audit, store, clock):
    for _ in range(1000):
        audit.refuse("10.0.0.1", "create_message", "auth")
    audit.refuse("10.0.0.1", "create_message", "RateLimited")
    clock.now += 61
    audit.refuse("10.0.0.2", "create_message", "RateLimited")
    details = [(row.actor, json.loads(row.detail)) for row in await rows(store)]
    assert details == [
        ("10.0.0.1", {"refused": "auth"}),
        ("10.0.0.1", {"refused": "RateLimited"}),
        ("10.0.0.1", {"refused": "auth", "times": 999}),
        ("10.0.0.2", {"refused": "RateLimited"}),
    ]


async def test_a_flood_that_does_not_end_is_told_of_each_minute(audit, store, clock):
    for _ in range(4):
        audit.refuse("10.0.0.1", "create_message", "auth")
        clock.now += 30
    details = [json.loads(row.detail).get("times") for row in await rows(store)]
    assert details == [None, 1, None]


async def test_refusals_still_counted_at_the_end_are_written(audit, store):
    for _ in range(3):
        audit.refuse("key_1", "delete_key", "permission")
    await audit.close()
    assert json.loads((await rows(store))[-1].detail) == {"refused": "permission", "times": 2}


async def test_neither_memory_nor_disk_is_filled_by_ever_new_addresses(audit, store, monkeypatch):
    monkeypatch.setattr(module, "REFUSALS", 10)
    for number in range(50):
        audit.refuse(f"10.0.0.{number}", "create_message", "auth")
    await audit.close()
    details = [(row.actor, json.loads(row.detail).get("times")) for row in await rows(store)]
    assert details == [
        *((f"10.0.0.{number}", None) for number in range(10)),
        ("others", None),
        ("others", 39),
    ]


async def test_replicas_add_to_one_chain(database_url):
    stores = [Store(database_url), Store(database_url)]
    trails = [Audit(store) for store in stores]
    for number in range(200):
        trails[number % 2].record(f"key_{number}", "update_key")
        if number % 10 == 0:
            await asyncio.sleep(0.002)
    for store in stores:
        await store.flush()
    assert await stores[0].read(verify) == Verdict(200, None)
    for store in stores:
        await store.close()


async def test_a_file_that_cannot_be_written_is_told(store, tmp_path):
    (tmp_path / "audit.log").mkdir()
    audit = Audit(store, tmp_path)
    audit.record("key_admin", "create_key")
    await audit.close()
    assert (audit.written, audit.failures) == (1, 1)


async def test_the_file_has_the_same_lines(store, tmp_path):
    audit = Audit(store, tmp_path)
    for number in range(5):
        audit.record("key_admin", "create_key", f"key_{number}", {"name": "küche"})
    await audit.close()
    await asyncio.sleep(0.05)
    lines = [json.loads(line) for line in (tmp_path / "audit.log").read_text("utf-8").splitlines()]
    found = await rows(store)
    assert [line["sequence"] for line in lines] == [1, 2, 3, 4, 5]
    assert [line["hash"] for line in lines] == [bytes(row.hash).hex() for row in found]
    assert lines[0]["detail"] == {"name": "küche"}
