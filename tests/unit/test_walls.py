import asyncio
from types import SimpleNamespace

import pytest

from gateway import walls as module
from gateway.errors import NotFound, ThreadNotFound
from gateway.keys import Key
from gateway.resources import Owned
from gateway.store import Store
from gateway.walls import Walls

ONE = Key("key_one", "one", frozenset(["files", "batches"]))
TWO = Key("key_two", "two", frozenset(["files", "batches"]))
ADMIN = Key("key_admin", "admin", frozenset(["gateway:admin"]))


@pytest.fixture
def walls(store: Store) -> Walls:
    return Walls(store)


async def make(walls, count):
    """Two keys make files and batches in turn."""
    for number in range(count):
        for key in (ONE, TWO):
            await walls.record(
                key,
                [
                    Owned("files", f"file_{key.name}_{number}"),
                    Owned("batches", f"msgbatch_{key.name}_{number}"),
                ],
            )


async def test_every_cross_access_is_not_found(walls):
    await make(walls, 30)
    for key, other in ((ONE, TWO), (TWO, ONE)):
        for number in range(30):
            await walls.check(key, [Owned("batches", f"msgbatch_{key.name}_{number}")])
            with pytest.raises(NotFound, match="was not found"):
                await walls.check(key, [Owned("batches", f"msgbatch_{other.name}_{number}")])
    mine = Owned("batches", "msgbatch_one_1")
    with pytest.raises(NotFound):  # one foreign id among one's own is enough
        await walls.check(ONE, [mine, Owned("batches", "msgbatch_two_1")])
    with pytest.raises(NotFound):  # what no key made
        await walls.check(ONE, [Owned("files", "file_unknown")])
    with pytest.raises(NotFound):  # the same id of another kind
        await walls.check(ONE, [Owned("files", "msgbatch_one_1")])


@pytest.mark.parametrize("kind", ["files", "containers", "messages", "batches"])
async def test_the_time_does_not_tell_what_is_anothers(walls, kind, monkeypatch):
    await walls.record(TWO, [Owned(kind, "of_two")])
    waits = {}
    for name in ("of_two", "of_nobody"):
        waited = waits[name] = []

        async def wait(seconds, waited=waited):
            waited.append(seconds)

        with monkeypatch.context() as patched:
            patched.setattr(asyncio, "sleep", wait)
            with pytest.raises(NotFound):
                await walls.check(ONE, [Owned(kind, name)])
    assert sum(waits["of_two"]) == sum(waits["of_nobody"]) == sum(module.LATE.get(kind, ()))


@pytest.mark.parametrize("odd", ["", "\x00", "a b", "\n", "é", "x" * 300, "\ud800"])
async def test_what_cannot_be_an_id_is_not_found(walls, odd):
    await walls.record(ONE, [Owned("files", odd), Owned("files", "file_1")])
    await walls.check(ONE, [Owned("files", "file_1")])
    with pytest.raises(NotFound, match="what is named here was not found"):
        await walls.check(ONE, [Owned("files", odd)])


async def test_an_admin_passes_everywhere(walls):
    await walls.check(ADMIN, [Owned("files", "file_unknown"), Owned("batches", "x")])


async def test_what_anthropic_provides_belongs_to_all(walls):
    await walls.check(ONE, [Owned("skills", "xlsx"), Owned("skills", "skill-creator")])
    with pytest.raises(NotFound):
        await walls.check(ONE, [Owned("skills", "skill_01X")])


async def test_entering_twice_is_no_error_and_an_id_stays_with_its_first_key(walls):
    file = Owned("files", "file_1")
    await asyncio.gather(*(walls.record(ONE, [file]) for _ in range(10)))
    await walls.record(TWO, [file])
    await walls.check(ONE, [file])
    with pytest.raises(NotFound):
        await walls.check(TWO, [file])
    assert await walls.owner(file) == ONE.id


async def test_what_is_noted_is_there_at_once(walls):
    for number in range(50):
        file = Owned("files", f"file_{number}")
        walls.note(ONE, [file])
        await walls.check(ONE, [file])


async def test_owners_of_many_at_once(walls):
    files = [Owned("files", f"file_{number}") for number in range(1300)]
    await walls.record(ONE, files[:700])
    await walls.record(TWO, files[700:1200])
    batch = Owned("batches", "file_1")
    walls.note(TWO, [batch])
    owners = await walls.owners([*files, batch])
    assert owners == {
        **dict.fromkeys(files[:700], ONE.id),
        **dict.fromkeys(files[700:1200], TWO.id),
        batch: TWO.id,
    }
    assert await walls.owners([]) == {}


async def test_a_foreign_thread_says_that_it_has_to_be_replayed(walls):
    await walls.record(TWO, [Owned("messages", "msg_1")])
    with pytest.raises(ThreadNotFound, match="msg_1 was not found"):
        await walls.check(ONE, [Owned("messages", "msg_1")])


async def test_an_id_that_another_replica_is_about_to_commit_is_waited_for(database_url):
    stores = [Store(database_url), Store(database_url)]
    here, there = (Walls(store) for store in stores)
    for kind in ("files", "containers", "messages"):
        made = Owned(kind, "made_1")
        here.note(ONE, [made])
        await there.check(ONE, [made])
    for store in stores:
        await store.close()


async def test_what_is_deleted_is_gone(walls):
    file = Owned("files", "file_1")
    await walls.record(ONE, [file])
    await walls.check(ONE, [file])
    namesake = Owned("batches", "file_1")
    await walls.record(ONE, [namesake])
    await walls.forget(file)
    with pytest.raises(NotFound):
        await walls.check(ONE, [file])
    await walls.check(ONE, [namesake])


def test_ids_are_written_in_an_order_that_all_replicas_share(walls):
    """Else two that enter the same ids could wait for each other."""
    written = []
    session = SimpleNamespace(cursor=SimpleNamespace(executemany=lambda _, rows: written.extend(rows)))
    walls._write(session, [[("files", "b", "k", 1), ("files", "a", "k", 1)], [("batches", "c", "k", 1)]])
    assert [row[:2] for row in written] == [("batches", "c"), ("files", "a"), ("files", "b")]


async def test_replicas_see_each_others_ids(database_url):
    stores = [Store(database_url), Store(database_url)]
    here, there = (Walls(store) for store in stores)
    await here.record(ONE, [Owned("files", "file_1")])
    await there.check(ONE, [Owned("files", "file_1")])
    with pytest.raises(NotFound):
        await there.check(TWO, [Owned("files", "file_1")])
    for store in stores:
        await store.close()


async def test_memory_is_bounded(walls, monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 10)
    files = [Owned("files", f"file_{number}") for number in range(30)]
    await walls.record(ONE, files)
    await walls.check(ONE, files)
    assert len(walls._owners) == 10
    await walls.check(ONE, files)
