import asyncio
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import event, func, insert, select

from gateway.keys import Budget, Key
from gateway.ledger import Ledger, usage_report
from gateway.ledger import instances as instances_module
from gateway.ledger.book import _add
from gateway.prices import PriceTable
from gateway.store import Store
from gateway.store.tables import budgets, calls, instances, usage_daily
from gateway.usage import Usage
from tests.support.clock import Clock

PRICES = PriceTable.load()
MODEL = "claude-sonnet-4-20250514"
OPUS = "claude-opus-4-8"
APP = Key("key_app", "app", frozenset(["messages"]))
OTHER = Key("key_other", "other", frozenset(["messages"]))
USAGE = Usage.read(
    MODEL,
    {
        "input_tokens": 100,
        "output_tokens": 10,
        "cache_read_input_tokens": 1000,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 5},
        "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 2},
        "service_tier": "standard",
        "inference_geo": "us",
    },
)


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime.fromisoformat("2026-11-22T12:00:00+00:00").timestamp())


@pytest.fixture
async def ledger(store: Store, clock: Clock) -> AsyncIterator[Ledger]:
    opened = Ledger(store, PRICES, ZoneInfo("UTC"), clock)
    yield opened
    await opened.close()


async def begin(ledger, who=APP, model=MODEL, request_id="req_1"):
    return await ledger.begin(who, request_id, "create_message", model, input_tokens=100, max_tokens=1024)


async def rows(store):
    await store.flush()
    return await store.read(lambda connection: connection.execute(select(calls).order_by(calls.c.id)).all())


async def report(store, **options):
    names = {APP.id: "app", OTHER.id: "other"}
    return await usage_report(store, lambda key_id: names.get(key_id, key_id), **options)


async def test_a_row_stands_before_the_call_and_is_completed_after_it(ledger, store, clock):
    entry = await begin(ledger)
    (row,) = await rows(store)
    assert (row.status, row.key_id, row.operation, row.model) == ("started", APP.id, "create_message", MODEL)
    assert (row.request_id, row.day, row.input_tokens, row.cost, row.estimated) == (
        "req_1", "2026-11-22", 100, 300_000, True,
    )  # fmt: skip
    clock.now += 2
    cost = ledger.settle(entry, USAGE, http_status=200, upstream_request_id="req_up")
    (row,) = await rows(store)
    assert cost.nanodollars == row.cost == 10_940_500
    assert (row.status, row.http_status, row.upstream_request_id) == ("done", 200, "req_up")
    assert (row.input_tokens, row.output_tokens, row.cache_read_tokens) == (100, 10, 1000)
    assert (row.cache_write_5m_tokens, row.cache_write_1h_tokens) == (20, 5)
    assert (row.web_search_requests, row.web_fetch_requests, row.code_execution_requests) == (1, 2, 0)
    assert (row.service_tier, row.inference_geo, row.speed) == ("standard", "us", None)
    assert (row.estimated, row.priced) == (False, True)
    assert row.ended_at - row.started_at == 2000


async def test_an_unknown_model_is_booked_dear_and_flagged(ledger, store):
    ledger.settle(await begin(ledger, model="claude-nova"), Usage.read("claude-nova", {"input_tokens": 1000}))
    (row,) = await rows(store)
    assert (row.cost, row.priced, row.estimated) == (15_000_000, False, True)


async def test_a_name_as_long_as_a_book_is_cut(ledger, store):
    ledger.settle(await begin(ledger, model="m" * 10_000), Usage.none("m" * 10_000), outcome="failed")
    (row,) = await rows(store)
    assert row.model == "m" * 128


async def test_a_name_that_no_database_takes_is_booked(ledger, store):
    ledger.settle(await begin(ledger, model="cla\0ude"), Usage.none("cla\0ude"), outcome="failed")
    (row,) = await rows(store)
    assert row.model == "claude"


async def test_a_refused_call_costs_nothing(ledger, store):
    ledger.settle(await begin(ledger), Usage.none(MODEL), outcome="failed", http_status=400)
    (row,) = await rows(store)
    assert (row.status, row.cost, row.input_tokens, row.estimated) == ("failed", 0, 0, False)


async def test_ids_grow_and_differ_even_within_a_tick(ledger):
    entries = [await begin(ledger) for _ in range(50)]
    ids = [entry.id for entry in entries]
    assert sorted(set(ids)) == ids
    for entry in entries:
        ledger.settle(entry, USAGE)


async def test_usage_is_summed_by_any_columns(ledger, store, clock):
    for who, model in ((APP, MODEL), (APP, MODEL), (OTHER, MODEL), (APP, "claude-haiku-4-5")):
        ledger.settle(
            await begin(ledger, who, model), Usage.read(model, {"input_tokens": 10, "output_tokens": 1})
        )
    clock.now += 86_400
    aborted = Usage.floor(MODEL, {"input_tokens": 7, "cache_creation_input_tokens": 2}, text_bytes=8)
    ledger.settle(await begin(ledger), aborted, outcome="canceled")
    running = await begin(ledger, OTHER)

    everything = await report(store)
    assert [(row["key"], row["model"], row["day"], row["requests"]) for row in everything["rows"]] == [
        ("app", "claude-haiku-4-5", "2026-11-22", 1),
        ("app", MODEL, "2026-11-22", 2),
        ("other", MODEL, "2026-11-22", 1),
        ("app", MODEL, "2026-11-23", 1),
        ("other", MODEL, "2026-11-23", 1),
    ]
    assert everything["rows"][1] == {
        "key": "app", "model": MODEL, "day": "2026-11-22", "requests": 2, "input_tokens": 20,
        "output_tokens": 2, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0,
        "cost_usd": "0.00009", "estimated_requests": 0,
    }  # fmt: skip
    assert everything["total"] == {
        "requests": 6, "input_tokens": 47, "output_tokens": 6, "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 2, "cost_usd": "0.0002085", "estimated_requests": 1,
    }  # fmt: skip
    by_day = await report(store, group_by=["day"], first=date(2026, 11, 23), last=date(2026, 11, 23))
    assert [(row["day"], row["requests"]) for row in by_day["rows"]] == [("2026-11-23", 2)]
    assert "key" not in by_day["rows"][0]
    mine = await report(store, group_by=["key"], key_id=OTHER.id)
    assert [(row["key"], row["requests"]) for row in mine["rows"]] == [("other", 2)]
    assert (await report(store, group_by=[]))["rows"] == [everything["total"]]
    empty = await report(store, first=date(2030, 1, 1))
    assert (empty["rows"], empty["total"]["cost_usd"]) == ([], "0")
    ledger.settle(running, USAGE)


def test_what_one_commit_adds_is_told_apart_and_in_an_order_that_all_replicas_share():
    """Else two of them could wait for each other's rows."""
    day = "2026-11-22"
    added = _add(
        [
            (day, "key_b", "opus", 1, 0, 10),
            (day, "key_a", "sonnet", 1, 0, 20),
            (day, "key_b", "haiku", 1, 1, 30),
            (day, "key_b", "opus", 1, 1, 40),
            ("2026-11-21", "key_b", "opus", 1, 0, 50),
        ]
    )
    assert added == [
        ("2026-11-21", "key_b", "opus", 1, 0, 50),
        (day, "key_a", "sonnet", 1, 0, 20),
        (day, "key_b", "haiku", 1, 1, 30),
        (day, "key_b", "opus", 2, 1, 50),
    ]


async def test_a_batch_is_booked_once_at_half_price(ledger, store):
    usages = [
        Usage.read(model, {"input_tokens": 1000, "output_tokens": 1000, "service_tier": "batch"})
        for model in (MODEL, MODEL, "claude-haiku-4-5")
    ]
    limited = Key("key_app", "app", frozenset(), budget=Budget(day=10**9))
    entry = await begin(ledger, limited)
    tally = ledger.tally()
    for usage in usages:
        tally.add(usage)
    assert not await ledger.is_booked("msgbatch_1")
    assert await ledger.book_batch(APP.id, "msgbatch_1", tally)
    assert not await ledger.book_batch(APP.id, "msgbatch_1", tally)
    assert await ledger.is_booked("msgbatch_1")
    ledger.settle(entry, Usage.none(MODEL))
    await store.flush()
    total = (await report(store))["total"]
    assert (total["cost_usd"], total["requests"]) == (
        "0.021",
        4,
    )  # 2 x 0.009 + 0.003; three results, one call
    spent = await store.read(lambda c: c.execute(select(budgets.c.day_spent)).scalar_one())
    assert spent == 21_000_000
    booked = [row for row in await rows(store) if row.operation == "batch"]
    assert [(row.model, row.requests, row.cost) for row in booked] == [
        ("claude-haiku-4-5", 1, 3_000_000),
        (MODEL, 2, 18_000_000),
    ]
    assert await ledger.book_batch(APP.id, "msgbatch_empty", ledger.tally())


async def test_a_day_is_that_of_the_zone_and_a_price_that_of_utc(store, clock):
    """The price of reads halves on 7 October, which begins in Berlin two hours earlier."""
    clock.now = datetime.fromisoformat("2026-10-06T22:30:00+00:00").timestamp()
    ledger = Ledger(store, PRICES, ZoneInfo("Europe/Berlin"), clock)
    model = "claude-sonnet-5-5"
    usage = Usage.read(model, {"cache_read_input_tokens": 1000})
    ledger.settle(await begin(ledger, model=model), usage)
    tally = ledger.tally()
    tally.add(usage)
    await ledger.book_batch(APP.id, "msgbatch_1", tally)
    assert [(row.day, row.cost) for row in await rows(store)] == [("2026-10-07", 200_000)] * 2
    await ledger.close()


async def test_a_batch_keeps_its_counts_and_what_is_not_exact_about_it(ledger, store):
    exact = {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 3, "service_tier": "batch"}
    tools = {"web_search_requests": 6, "web_fetch_requests": 7, "code_execution_requests": 8}
    written = {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 5}
    usage = exact | {"cache_creation": written, "server_tool_use": tools}
    credit = {"fallback_credit": {"status": {"type": "redeemed"}}}
    tally = ledger.tally()
    for model, more in ((MODEL, {}), (MODEL, credit), (MODEL, {}), ("gpt-6", {}), (OPUS, {})):
        tally.add(Usage.read(model, usage | more))
    await ledger.book_batch(APP.id, "msgbatch_1", tally)
    booked = {row.model: row for row in await rows(store)}
    flags = {model: (row.requests, row.estimated, row.priced) for model, row in booked.items()}
    assert flags == {MODEL: (3, True, True), "gpt-6": (1, True, False), OPUS: (1, False, True)}
    row = booked[MODEL]
    assert (row.input_tokens, row.output_tokens, row.cache_read_tokens) == (3, 6, 9)
    assert (row.cache_write_5m_tokens, row.cache_write_1h_tokens) == (12, 15)
    assert (row.web_search_requests, row.web_fetch_requests, row.code_execution_requests) == (18, 21, 24)
    total = (await report(store))["total"]
    assert (total["requests"], total["estimated_requests"]) == (5, 2)
    assert (total["input_tokens"], total["cache_creation_input_tokens"]) == (5, 45)


async def test_old_rows_go_and_the_sums_stay(ledger, store, clock):
    for _ in range(1203):
        ledger.settle(await begin(ledger), USAGE)
    open_call = await begin(ledger)
    await store.flush()
    before = await report(store)
    clock.now += 90 * 86_400
    late = await begin(ledger)
    assert await ledger.prune(clock.now - 86_400) == 1203
    assert [row.id for row in await rows(store)] == [open_call.id, late.id]
    ledger.settle(open_call, USAGE)
    ledger.settle(late, USAGE)
    after = (await report(store, last=date(2026, 11, 22)))["total"]
    assert after["requests"] == before["total"]["requests"] == 1204
    assert after["cost_usd"] == "13.172362"  # 1,204 x 0.0109405


CRASH = """
    import asyncio, os, signal, sys
    from zoneinfo import ZoneInfo
    from gateway.keys import Budget, Key
    from gateway.ledger import Ledger
    from gateway.prices import PriceTable
    from gateway.store import Store
    from gateway.usage import Usage

    MODEL = "claude-sonnet-4-20250514"
    USAGE = Usage.read(MODEL, {"input_tokens": 100, "output_tokens": 10})

    async def main():
        store = Store(sys.argv[1])
        ledger = Ledger(store, PriceTable.load(), ZoneInfo("UTC"))
        app = Key("key_app", "app", frozenset(), budget=Budget(day=1000 * 10**9))
        reached = open(sys.argv[2], "a", buffering=1)

        async def call(number):
            size = {"input_tokens": 100, "max_tokens": 1024}
            entry = await ledger.begin(app, f"req_{number}", "create_message", MODEL, **size)
            reached.write(f"req_{number}\\n")  # from here on Anthropic may have it
            await asyncio.sleep(0.02 * (number % 7))
            ledger.settle(entry, USAGE)

        number = 0
        running = set()
        while True:
            number += 1
            task = asyncio.create_task(call(number))
            running.add(task)
            task.add_done_callback(running.discard)
            if len(running) >= 200:
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)

    asyncio.run(main())
"""


def crash(database_url, tmp_path):
    """Run calls in another process and kill it in the middle; returns the requests that went out."""
    script, reached = tmp_path / "crash.py", tmp_path / "reached"
    script.write_text(textwrap.dedent(CRASH))
    process = subprocess.Popen([sys.executable, script, database_url, reached], env={"PYTHONPATH": "."})
    deadline = time.monotonic() + 60
    while not reached.exists() or len(reached.read_text().splitlines()) < 1000:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return reached.read_text().split("\n")[:-1]


async def test_after_kill_9_no_call_is_missing_and_nothing_stays_reserved(
    database_url, tmp_path, monkeypatch
):
    reached = await asyncio.to_thread(crash, database_url, tmp_path)
    if not database_url.startswith("sqlite"):
        monkeypatch.setattr(instances_module, "LEASE", 0.3)
        await _age_leases(database_url)
    store = Store(database_url)
    open_before = await store.read(
        lambda c: c.execute(select(func.count()).where(calls.c.status == "started")).scalar_one()
    )
    assert open_before > 0
    ledger = Ledger(store, PRICES, ZoneInfo("UTC"))
    found = await rows(store)
    assert {row.request_id for row in found} >= set(reached)
    assert {row.status for row in found} == {"done", "interrupted"}
    cut = [row for row in found if row.status == "interrupted"]
    assert len(cut) == open_before
    assert all((row.cost, row.estimated) == (300_000, True) for row in cut)
    balance = await store.read(lambda c: c.execute(select(budgets)).one())
    assert (balance.day_reserved, balance.month_reserved) == (0, 0)
    assert balance.month_spent == sum(row.cost for row in found)
    total = (await report(store))["total"]
    assert (total["requests"], total["estimated_requests"]) == (len(found), len(cut))
    await ledger.close()
    assert await store.read(lambda c: c.execute(select(instances)).all()) == []
    await store.close()


async def _age_leases(database_url):
    store = Store(database_url)
    await store.write(lambda session: session.connection.execute(instances.update().values(expires_at=0)))
    await store.close()


async def test_what_a_dead_process_left_open_is_booked_as_estimated_and_nothing_else_is_touched(
    ledger, store
):
    limited = Key("key_app", "app", frozenset(), budget=Budget(day=1000 * 10**9))
    dead = Ledger(store, PRICES, ZoneInfo("UTC"), ledger._now)
    dead.settle(await begin(dead, OTHER), USAGE)
    await store.flush()
    left = await begin(dead, limited)
    mine = await begin(ledger, limited)
    lock = dead._instance._lock
    if lock is not None:
        lock.close()
    await store.write(
        lambda session: session.connection.execute(
            instances.update().where(instances.c.id == dead.instance_id).values(expires_at=0)
        )
    )
    before = await report(store, group_by=["key"])
    assert await ledger.sweep() == 1
    found = {row.id: (row.status, row.input_tokens, row.cost, row.estimated) for row in await rows(store)}
    assert found.pop(left.id) == ("interrupted", 100, 300_000, True)
    assert found.pop(mine.id) == ("started", 100, 300_000, True)
    assert list(found.values()) == [("done", 100, 10_940_500, False)]
    after = await report(store, group_by=["key"])
    assert after["rows"][0] == before["rows"][0] | {
        "input_tokens": 100, "cost_usd": "0.0003", "estimated_requests": 1
    }  # fmt: skip
    assert after["rows"][1] == before["rows"][1]
    assert after["rows"][1]["cache_creation_input_tokens"] == 25
    balance = await store.read(lambda c: c.execute(select(budgets)).one())
    assert (balance.day_spent, balance.day_reserved) == (300_000, mine.reserved)
    assert await store.read(lambda c: c.execute(select(instances.c.id)).scalars().all()) == [
        ledger.instance_id
    ]
    assert lock is None or not await asyncio.to_thread(Path(lock.name).exists)
    ledger.settle(mine, USAGE)


async def test_nobody_takes_itself_for_dead(ledger, store):
    call = await begin(ledger)
    expired = instances.update().values(expires_at=0)
    await store.write(lambda session: session.connection.execute(expired))
    assert await ledger.sweep() == 0
    ledger.settle(call, USAGE)


async def test_calls_of_a_process_that_nobody_knows_any_more_are_closed(ledger, store):
    gone = Ledger(store, PRICES, ZoneInfo("UTC"))
    call = await begin(gone)
    await store.write(
        lambda session: session.connection.execute(
            instances.delete().where(instances.c.id == gone.instance_id)
        )
    )
    assert await ledger.sweep() == 1
    assert [(row.id, row.status) for row in await rows(store)] == [(call.id, "interrupted")]
    await gone.close()


async def test_the_calls_of_a_living_process_are_left_alone(database_url):
    stores = [Store(database_url), Store(database_url)]
    first = Ledger(stores[0], PRICES, ZoneInfo("UTC"))
    entry = await begin(first)
    second = Ledger(stores[1], PRICES, ZoneInfo("UTC"))
    assert await second.sweep() == 0
    assert [row.status for row in await rows(stores[0])] == ["started"]
    first.settle(entry, USAGE)
    assert [row.status for row in await rows(stores[0])] == ["done"]
    for ledger, store in zip((first, second), stores, strict=True):
        await ledger.close()
        await store.close()


async def test_an_idle_ledger_writes_nothing_to_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.ledger.ledger.RENEW_AFTER", 0.01)
    store = Store(f"sqlite:///{tmp_path}/gateway.db")
    neighbour = Ledger(store, PRICES, ZoneInfo("UTC"))
    ledger = Ledger(store, PRICES, ZoneInfo("UTC"))
    ledger.settle(await begin(ledger), USAGE)
    await store.flush()

    def files():
        return {path: path.stat() for path in tmp_path.rglob("*") if not path.name.endswith("-shm")}

    before, commits = files(), store.writer.commits
    await ledger.start()
    await asyncio.sleep(0.3)
    assert store.writer.commits > commits + 5  # it has looked for processes that died
    after = files()
    assert {path: (stat.st_size, stat.st_mtime_ns) for path, stat in after.items()} == {
        path: (stat.st_size, stat.st_mtime_ns) for path, stat in before.items()
    }
    await ledger.close()
    await neighbour.close()
    await store.close()


async def test_a_replica_that_was_taken_for_dead_does_not_book_twice(ledger, store, caplog):
    entry = await begin(ledger)
    await begin(ledger, request_id="req_2")
    closing = calls.update().where(calls.c.id == entry.id).values(status="interrupted")
    await store.write(lambda session: session.connection.execute(closing))
    ledger.settle(entry, USAGE)
    await store.flush()
    assert [row.status for row in await rows(store)] == ["interrupted", "started"]
    assert await store.read(lambda c: c.execute(select(usage_daily)).all()) == []
    assert "closed by another process" in caplog.text


async def test_replicas_read_the_clock_of_their_database(store):
    assert abs(await store.read(instances_module._now) - time.time() * 1000) < 60_000


async def test_a_replica_that_was_struck_out_comes_back(ledger, store, monkeypatch):
    """It stood still for longer than its lease: the next sign of life enters it again, under its number.

    On one machine it is never struck out, as the system knows that it lives.
    """
    other = Ledger(store, PRICES, ZoneInfo("UTC"))
    monkeypatch.setattr(instances_module, "_now", lambda _: int((time.time() + 60) * 1000))
    assert await ledger.sweep() == 0
    monkeypatch.undo()
    call = await begin(other)
    assert await other.sweep() == 0, "nobody closes its own calls"
    await other._instance.renew()
    assert await ledger.sweep() == 0
    other.settle(call, USAGE)
    assert [row.status for row in await rows(store)] == ["done"]
    await other.close()


async def test_a_long_ledger_makes_neither_a_call_nor_a_report_costlier(tmp_path):
    """Measured in the steps of SQLite's machine, which are the same wherever and whenever it runs."""

    many = 200_000

    async def steps_of_calls(store, ledger):
        before = steps[0]
        for _ in range(50):
            ledger.settle(await begin(ledger), USAGE)
            await store.flush()  # how many go into one commit must not be the machine's affair
        return steps[0] - before

    async def steps_of_reports(store, _ledger):
        before = steps[0]
        total = (await report(store, group_by=["day"]))["total"]
        return steps[0] - before, total["requests"]

    def step():
        steps[0] += 1

    steps = [0]
    calls_of, reports_of = {}, {}
    for count in (0, many):
        url = f"sqlite:///{tmp_path}/{count}.db"
        filled = Store(url)
        await filled.write(_fill, count)
        await filled.close()
        store = Store(url)
        store.engine.dispose()
        event.listen(store.engine, "connect", lambda connection, _: connection.set_progress_handler(step, 1))
        ledger = Ledger(store, PRICES, ZoneInfo("UTC"))
        reports_of[count], requests = await steps_of_reports(store, ledger)
        assert requests == count
        calls_of[count] = await steps_of_calls(store, ledger)
        await ledger.close()
        await store.close()
    assert 1000 < calls_of[many] < 1.1 * calls_of[0]
    # A report of a month reads a row for each of its 31 days and 7 keys, whatever the calls of each.
    assert reports_of[many] < reports_of[0] + 217 * 30


def _fill(session, count):
    """A ledger of a month, as large as wished."""
    model = {"request_id": "req_1", "operation": "create_message", "model": MODEL, "status": "done"}
    row: dict[str, object] = {
        **model,
        "instance_id": 1,
        "reserved": 0,
        "input_tokens": 1,
        "cost": 3000,
        "estimated": False,
    }
    for first in range(0, count, 50_000):
        session.connection.execute(
            insert(calls),
            [
                {
                    **row,
                    "id": number,
                    "key_id": f"key_{number % 7}",
                    "day": f"2026-10-{number % 31 + 1:02}",
                    "started_at": number,
                }
                for number in range(first, first + 50_000)
            ],
        )
    names = ["day", "key_id", "model"]
    groups = [calls.c[name] for name in names]
    sums = [func.count(), func.sum(calls.c.input_tokens), func.sum(calls.c.cost)]
    session.connection.execute(
        usage_daily.insert().from_select(
            [*names, "requests", "input_tokens", "cost"], select(*groups, *sums).group_by(*groups)
        )
    )
