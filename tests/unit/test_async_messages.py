"""The table of asynchronous messages, on both databases: of two processes one makes each change."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from gateway.async_messages import AsyncMessages
from gateway.async_messages.lines import Lines
from gateway.async_messages.record import AsyncMessage
from gateway.async_messages.table import Table
from gateway.content import Content
from gateway.errors import RateLimited, ServiceUnavailable
from gateway.settings import Settings
from gateway.store.tables import calls, instances
from tests.support.clock import Clock

NOW = 1_795_000_000_000
LATER = NOW + 7 * 86_400_000
END = {
    "status": "succeeded",
    "http_status": 200,
    "answer_content": "cnt_answer",
    "cost": 7,
    "estimated": False,
    "ended_at": NOW + 5,
    "expires_at": LATER,
}


@pytest.fixture
def clock():
    return Clock(NOW / 1000)


@pytest.fixture
def table_of(store, clock):
    """Makes the table as one process sees it, which is alive."""

    def make(number=1):
        row = instances.insert().values(id=number, token=f"{number}", expires_at=2**50)
        store.write_now(lambda session: session.connection.execute(row))
        return Table(store, number, clock)

    return make


def dies(store, number):
    row = instances.delete().where(instances.c.id == number)
    store.write_now(lambda session: session.connection.execute(row))


def message(name="one", *, instance_id=1, key_id="key_a"):
    return AsyncMessage(
        id=f"amsg_{name}",
        key_id=key_id,
        instance_id=instance_id,
        status="queued",
        model="claude",
        headers=[(b"anthropic-beta", b"a,b")],
        request_content="cnt_request",
        created_at=NOW,
        expires_at=LATER,
    )


async def status(table, name="one"):
    found = await table.find(f"amsg_{name}")
    return None if found is None else found.status


async def test_a_life(store, table_of, clock):
    table = table_of()
    await table.insert(message(), 10)
    assert await table.find("amsg_one") == message()
    assert [await table.start("amsg_one"), await table.start("amsg_one")] == [True, False]
    table.finish("amsg_one", END)
    await store.flush()
    found = await table.find("amsg_one")
    assert (found.status, found.cost, found.answer_content, found.finished) == (
        "succeeded",
        7,
        "cnt_answer",
        True,
    )
    assert await table.cancel("amsg_one") is False
    assert await table.expire() == 0
    clock.now = LATER / 1000
    assert await table.expire() == 1
    assert await table.find("amsg_one") is None


async def test_all_that_has_ended_goes_at_its_end_and_nothing_that_waits(store, table_of, clock, monkeypatch):
    monkeypatch.setattr("gateway.async_messages.table.DELETED_AT_ONCE", 2)
    table = table_of()
    for number in range(5):
        await table.insert(message(number), 10)
        assert number == 0 or await table.cancel(f"amsg_{number}")
    clock.now = LATER / 1000
    assert await table.expire() == 4
    assert await status(table, 0) == "queued"


async def test_no_more_than_so_many_of_a_key_wait(table_of):
    table = table_of()
    await table.insert(message("one"), 2)
    await table.insert(message("two"), 2)
    with pytest.raises(RateLimited):
        await table.insert(message("three"), 2)
    await table.insert(message("other", key_id="key_b"), 2)
    assert await table.start("amsg_one")
    await table.insert(message("three"), 2)


async def test_a_canceled_one_stays_so_and_learns_its_cost(store, table_of):
    table = table_of()
    await table.insert(message(), 10)
    await table.start("amsg_one")
    assert await table.cancel("amsg_one")
    await table.insert(message("two"), 10)
    await table.start("amsg_two")
    assert await table.canceled_of(["amsg_one", "amsg_two", "amsg_three"]) == ["amsg_one"]
    table.finish("amsg_one", END)
    await store.flush()
    found = await table.find("amsg_one")
    assert (found.status, found.cost, found.answer_content) == ("canceled", 7, None)
    assert await table.start("amsg_one") is False


async def test_of_a_dead_process_one_takes_what_waits_and_nobody_what_ran(store, table_of):
    dead, one, two = table_of(1), table_of(2), table_of(3)
    for name in ("ran", "never went up", "waits"):
        await dead.insert(message(name), 10)
    assert await dead.start("amsg_ran")
    assert await dead.start("amsg_never went up")
    row = {
        "id": NOW * 1_000_000 + 5, "request_id": "amsg_ran", "key_id": "key_a", "instance_id": 1,
        "operation": "create_message", "model": "claude", "day": "2026-11-22", "started_at": NOW,
        "status": "interrupted", "input_tokens": 3, "cost": 12, "estimated": True, "reserved": 0,
    }  # fmt: skip
    await store.write(lambda session: session.connection.execute(calls.insert().values(row)) and None)
    assert await one.take_over() == []
    dies(store, 1)

    taken = await asyncio.gather(one.take_over(), two.take_over())

    told = [(message.id, message.status) for messages in taken for message in messages]
    assert sorted(told) == [
        ("amsg_never went up", "interrupted"),
        ("amsg_ran", "interrupted"),
        ("amsg_waits", "queued"),
    ]
    ran, never = [await one.find(f"amsg_{name}") for name in ("ran", "never went up")]
    assert (ran.status, ran.cost, ran.estimated) == ("interrupted", 12, True)
    assert (never.status, never.cost, never.estimated) == ("interrupted", 0, False)
    started = [await dead.start("amsg_waits"), *[await table.start("amsg_waits") for table in (one, two)]]
    assert started.count(True) == 1
    assert started[0] is False


async def test_who_has_the_answer_knows_better(store, table_of):
    slow, other = table_of(1), table_of(2)
    await slow.insert(message(), 10)
    await slow.start("amsg_one")
    dies(store, 1)
    await other.take_over()
    assert await status(other) == "interrupted"
    slow.finish("amsg_one", END)
    await store.flush()
    assert await status(other) == "succeeded"


async def test_one_that_did_not_go_up_waits_again(store, table_of):
    table = table_of()
    await table.insert(message(), 10)
    await table.start("amsg_one")
    table.requeue("amsg_one")
    await store.flush()
    found = await table.find("amsg_one")
    assert (found.status, found.started_at) == ("queued", None)


async def test_a_key_deletes_what_has_ended(store, table_of):
    table = table_of()
    for name in ("one", "two"):
        await table.insert(message(name), 10)
    await table.insert(message("other", key_id="key_b"), 10)
    await table.start("amsg_one")
    table.finish("amsg_one", END)
    await store.flush()
    assert sorted(await table.forget("key_a")) == ["cnt_answer", "cnt_request"]
    assert [await status(table, name) for name in ("one", "two", "other")] == [None, "queued", "queued"]


async def test_what_seemed_not_to_be_committed_is_told_as_it_is(store, table_of, clock, lose_acknowledgement):
    """Else a run that was taken would never run, and one that was canceled would run to its end."""
    table = table_of()
    for name in ("one", "two"):
        lose_acknowledgement()
        await table.insert(message(name), 10)
    lose_acknowledgement()
    assert await table.start("amsg_one") is True
    lose_acknowledgement()
    assert await table.cancel("amsg_two") is True
    clock.now += 1
    lose_acknowledgement()
    assert await table.start("amsg_one") is False
    lose_acknowledgement()
    assert await table.cancel("amsg_two") is False


async def test_what_waited_longest_is_taken_first(store, table_of):
    dead, alive = table_of(1), table_of(2)
    for name, age in (("b", 1), ("c", 0), ("a", 2)):
        await dead.insert(replace(message(name), created_at=NOW - age), 10)
    dies(store, 1)
    assert [taken.id for taken in await alive.take_over()] == ["amsg_a", "amsg_b", "amsg_c"]


async def test_what_a_dead_process_left_is_taken_although_the_commit_seemed_to_fail(
    store, table_of, lose_acknowledgement
):
    dead, alive = table_of(1), table_of(2)
    await dead.insert(message(), 10)
    dies(store, 1)
    lose_acknowledgement()
    assert [taken.id for taken in await alive.take_over()] == ["amsg_one"]
    assert await alive.take_over() == []


@pytest.fixture
def service(store, tmp_path):
    services = SimpleNamespace(
        content=Content(store, tmp_path), store=store, settings=Settings(anthropic_api_key="sk"),
        ledger=SimpleNamespace(instance_id=1), draining=False,
    )  # fmt: skip
    return AsyncMessages(services)


async def test_what_waits_stands_in_line_although_another_content_cannot_be_deleted(service):
    """It is this process's from then on: nobody else looks for it."""
    joined = asyncio.Event()
    over = replace(message("over"), status="interrupted")

    async def take_over():
        return [over, message("waits")]

    async def delete(*_):
        raise ServiceUnavailable("the disk is away")

    service._table.take_over, service._content.delete = take_over, delete
    service._lines.join = lambda key_id, message_id: message_id == "amsg_waits" and joined.set()
    await service.start()
    await asyncio.wait_for(joined.wait(), 5)
    await service.close()


async def test_one_that_is_written_down_stands_in_line_although_its_caller_has_left(service):
    """Else it would take a place among those that wait, and never run while this process lives."""
    written, joined, insert = [], [], service._table.insert

    def leaving(entered, longest_queue):
        written.append(entered.id)
        accepting.cancel()
        return insert(entered, longest_queue)

    service._table.insert = leaving
    service._lines.join = lambda key_id, message_id: joined.append(message_id)
    accepting = asyncio.create_task(service.accept(SimpleNamespace(id="key_a"), [], b"{}", "claude"))
    with pytest.raises(asyncio.CancelledError):
        await accepting
    await asyncio.gather(*service._tasks)
    assert [await status(service._table, name.removeprefix("amsg_")) for name in written] == ["queued"]
    assert joined == written


async def test_a_line_stands_still_while_its_head_cannot_go_and_no_other_does(monkeypatch):
    monkeypatch.setattr("gateway.async_messages.lines.AGAIN_AFTER", 0.001)
    gone, all_gone, faults = [], asyncio.Event(), iter([True, True])

    async def head(key_id, message_id):
        if key_id == "key_a" and next(faults, False):
            raise OSError("the database is away")
        gone.append(message_id)
        if len(gone) == 3:
            all_gone.set()

    lines = Lines(head)
    for name in ("one", "two"):
        lines.join("key_a", name)
    lines.join("key_b", "three")
    await asyncio.wait_for(all_gone.wait(), 5)
    assert gone == ["three", "one", "two"]
    await lines.close()


async def test_a_line_that_was_empty_is_served_again_and_ends_when_all_do():
    served = asyncio.Queue()

    async def head(key_id, message_id):
        served.put_nowait(message_id)
        if message_id == "three":
            await asyncio.Event().wait()

    lines = Lines(head)
    for name in ("one", "two", "three"):
        lines.join("key_a", name)
        assert await asyncio.wait_for(served.get(), 5) == name
    await asyncio.wait_for(lines.close(), 5)
