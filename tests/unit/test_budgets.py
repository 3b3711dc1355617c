import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from gateway.budgets import ENOUGH_SAMPLES, GROUPS, Balance, Calendar, Learned, Sample
from gateway.errors import BudgetExhausted, RateLimited
from gateway.keys import Budget, Key
from gateway.ledger import Ledger
from gateway.ledger import ledger as module
from gateway.prices import PriceTable
from gateway.store import Store
from gateway.store.tables import budgets, calls, usage_daily
from gateway.usage import Usage
from tests.support.clock import Clock

DOLLAR = 1_000_000_000
PRICES = PriceTable.load()
MODEL = "claude-sonnet-4-20250514"


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime.fromisoformat("2026-11-22T12:00:00+00:00").timestamp())


@pytest.fixture
async def ledger(store: Store, clock: Clock) -> AsyncIterator[Ledger]:
    opened = Ledger(store, PRICES, ZoneInfo("Europe/Berlin"), clock)
    yield opened
    await opened.close()


def key(name="app", day=None, month=None) -> Key:
    return Key(f"key_{name}", name, frozenset(["messages"]), budget=Budget(day, month))


def cents(count: int) -> Usage:
    """A usage that costs so many cents: 1,000 tokens of output at $15 per million are 1.5 cents."""
    assert count % 3 == 0
    return Usage.read(MODEL, {"input_tokens": 0, "output_tokens": count * 2000 // 3})


async def begin(ledger: Ledger, who: Key, max_tokens: int = 1000, input_tokens: int = 0):
    return await ledger.begin(
        who, "req_1", "create_message", MODEL, input_tokens=input_tokens, max_tokens=max_tokens
    )


async def balance(store: Store, who: Key) -> Balance:
    await store.flush()
    row = await store.read(
        lambda connection: connection.execute(select(budgets).where(budgets.c.key_id == who.id)).one()
    )
    return Balance(*row)


async def teach(ledger: Ledger, who: Key, usage: Usage, max_tokens: int, times: int = ENOUGH_SAMPLES) -> None:
    for _ in range(times):
        ledger.settle(await begin(ledger, who, max_tokens), usage)


@pytest.mark.parametrize(
    ("zone", "moment", "day", "day_ends", "month_ends"),
    [
        (
            "UTC",
            "2026-11-22T23:59:59+00:00",
            "2026-11-22",
            "2026-11-23T00:00:00+00:00",
            "2026-12-01T00:00:00+00:00",
        ),
        (
            "Europe/Berlin",
            "2026-11-22T23:00:00+00:00",
            "2026-11-23",
            "2026-11-23T23:00:00+00:00",
            "2026-11-30T23:00:00+00:00",
        ),
        (
            "America/New_York",
            "2026-12-31T12:00:00+00:00",
            "2026-12-31",
            "2027-01-01T05:00:00+00:00",
            "2027-01-01T05:00:00+00:00",
        ),
        # The clocks go forward in the night to the 29th, and back in the night to the 25th.
        (
            "Europe/Berlin",
            "2026-03-28T23:30:00+00:00",
            "2026-03-29",
            "2026-03-29T22:00:00+00:00",
            "2026-03-31T22:00:00+00:00",
        ),
        (
            "Europe/Berlin",
            "2026-10-25T22:30:00+00:00",
            "2026-10-25",
            "2026-10-25T23:00:00+00:00",
            "2026-10-31T23:00:00+00:00",
        ),
    ],
)
def test_days_and_months_begin_in_the_zone(zone, moment, day, day_ends, month_ends):
    calendar = Calendar(ZoneInfo(zone))
    assert calendar.day(datetime.fromisoformat(moment).timestamp()) == day
    assert calendar.resets_at("day", day).astimezone(UTC).isoformat() == day_ends
    assert calendar.resets_at("month", day).astimezone(UTC).isoformat() == month_ends


def test_a_day_of_23_hours_ends_after_them():
    calendar = Calendar(ZoneInfo("Europe/Berlin"))
    for moment, day in (("12:00+02:00", "2026-03-29"), ("23:59+02:00", "2026-03-29")):
        assert calendar.day(datetime.fromisoformat(f"2026-03-29T{moment}").timestamp()) == day
    assert calendar.day(datetime.fromisoformat("2026-03-30T00:30+02:00").timestamp()) == "2026-03-30"


@pytest.mark.parametrize(
    ("spent", "reserved", "amount", "refused"),
    [
        (60, 30, 10, None),
        (60, 30, 11, "for now"),
        (99, 1, 1, "for now"),
        (99, 0, 1000, None),  # what is left is one call's
        (0, 100, 0, None),
        (100, 0, 1, "for good"),
        (100, 50, 1, "for good"),
    ],
)
@pytest.mark.parametrize("window", ["day", "month"])
def test_what_is_spent_held_and_asked_for_must_fit(window, spent, reserved, amount, refused):
    """The other window has room, or no limit."""
    calendar = Calendar(ZoneInfo("UTC"))
    counts = {f"{window}_spent": spent, f"{window}_reserved": reserved}
    for other in (None, 10_000):
        budget = Budget(**{"day": other, "month": other, window: 100})
        balance = Balance(key().id, "2026-11-22", month="2026-11", **counts)
        refusal = balance.refuse(budget, amount, calendar)
        if refused is None:
            assert refusal is None
        else:
            assert (refusal.window, refusal.limit, refusal.spent) == (window, 100, spent)
            assert refusal.final == (refused == "for good")


@pytest.mark.parametrize(("day_spent", "day_reserved"), [(100, 0), (60, 40)])
def test_a_used_up_month_is_told_although_the_day_stands_in_the_way_too(day_spent, day_reserved):
    """Tomorrow, or when a call under way has ended, nothing would be better."""
    balance = Balance(key().id, "2026-11-22", day_spent, day_reserved, "2026-11", 500, day_reserved)
    refusal = balance.refuse(Budget(100, 500), 1, Calendar(ZoneInfo("UTC")))
    assert (refusal.window, refusal.limit, refusal.spent, refusal.final) == ("month", 500, 500, True)
    assert refusal.resets_at == datetime(2026, 12, 1, tzinfo=ZoneInfo("UTC"))


def test_a_used_up_day_is_told_although_the_month_has_calls_under_way():
    balance = Balance(key().id, "2026-11-22", 100, 0, "2026-11", 400, 100)
    refusal = balance.refuse(Budget(100, 500), 1, Calendar(ZoneInfo("UTC")))
    assert (refusal.window, refusal.final) == ("day", True)


async def test_a_call_reserves_and_settles(ledger, store):
    who = key(day=DOLLAR, month=10 * DOLLAR)
    entry = await begin(ledger, who, max_tokens=10_000, input_tokens=1000)
    held = 150_000_000 + 3_000_000
    assert await balance(store, who) == Balance(who.id, "2026-11-22", 0, held, "2026-11", 0, held)
    ledger.settle(entry, cents(3))
    assert await balance(store, who) == Balance(who.id, "2026-11-22", 30_000_000, 0, "2026-11", 30_000_000, 0)


async def test_speed_is_held_at_its_price(ledger):
    size = {"input_tokens": 1, "max_tokens": 1}
    entry = await ledger.begin(
        key(day=DOLLAR), "req_1", "create_message", "claude-opus-4-8", **size, fast=True
    )
    assert entry.reserved == 10_000 + 50_000
    ledger.settle(entry, Usage.none("claude-opus-4-8"))


async def test_settling_twice_books_once(ledger, store):
    who = key(day=DOLLAR)
    entry = await begin(ledger, who)
    assert ledger.settle(entry, cents(3)) == ledger.settle(entry, cents(3))
    assert (await balance(store, who)).day_spent == 30_000_000


async def test_a_used_up_budget_is_refused_with_its_reset(ledger, clock):
    who = key(day=30_000_000)
    ledger.settle(await begin(ledger, who), cents(30))
    with pytest.raises(BudgetExhausted) as refusal:
        await begin(ledger, who)
    assert str(refusal.value) == (
        "the budget of $0.03 a day is used up ($0.3 spent);"
        " it resets at 2026-11-23T00:00:00+01:00 (Europe/Berlin)"
    )
    clock.now += 11 * 3600
    await begin(ledger, who)


async def test_the_month_holds_when_the_day_is_new(ledger, clock):
    who = key(month=30_000_000)
    ledger.settle(await begin(ledger, who), cents(30))
    clock.now += 86_400
    with pytest.raises(BudgetExhausted, match=r"a month is used up .* 2026-12-01T00:00:00\+01:00"):
        await begin(ledger, who)
    clock.now += 8 * 86_400
    await begin(ledger, who)


async def test_no_budget_is_never_used_up(ledger):
    who = key(day=0)
    with pytest.raises(BudgetExhausted):
        await begin(ledger, who)


async def test_a_call_over_midnight_counts_for_the_day_it_began(ledger, store, clock):
    who = key(day=DOLLAR, month=DOLLAR)
    long = await begin(ledger, who)
    clock.now += 86_400
    short = await begin(ledger, who)
    ledger.settle(long, cents(30))
    ledger.settle(short, cents(3))
    now = await balance(store, who)
    assert (now.day, now.day_spent, now.day_reserved) == ("2026-11-23", 30_000_000, 0)
    assert (now.month_spent, now.month_reserved) == (330_000_000, 0)


async def test_a_call_over_the_end_of_a_month_counts_for_the_month_it_began(ledger, store, clock):
    who = key(day=DOLLAR, month=DOLLAR)
    clock.now = datetime.fromisoformat("2026-11-30T12:00:00+01:00").timestamp()
    long = await begin(ledger, who)
    clock.now += 86_400
    short = await begin(ledger, who)
    now = await balance(store, who)
    assert (now.day_reserved, now.month_reserved) == (short.reserved, short.reserved)
    ledger.settle(long, cents(30))
    ledger.settle(short, cents(3))
    now = await balance(store, who)
    assert (now.month, now.month_spent, now.month_reserved) == ("2026-12", 30_000_000, 0)


async def test_a_budget_given_in_mid_month_knows_what_was_spent_and_is_under_way(ledger, store, clock):
    ledger.settle(await begin(ledger, key()), cents(30))
    clock.now += 86_400
    running = await begin(ledger, key())
    ledger.settle(await begin(ledger, key()), cents(60))
    limited = key(day=DOLLAR, month=2 * DOLLAR)
    entry = await begin(ledger, limited, max_tokens=1000)
    ledger.settle(entry, cents(3))
    ledger.settle(running, cents(9))
    now = await balance(store, limited)
    assert (now.day_spent, now.month_spent) == (720_000_000, 1_020_000_000)
    assert (now.day_reserved, now.month_reserved) == (0, 0)


async def test_a_budget_taken_away_and_given_back_has_not_forgotten(ledger, store, clock):
    ledger.settle(await begin(ledger, key(day=DOLLAR)), cents(3))
    clock.now += 86_400
    ledger.settle(await begin(ledger, key()), cents(30))
    await store.flush()
    entry = await begin(ledger, key(day=DOLLAR))
    assert (await balance(store, key())).day_spent == 300_000_000
    ledger.settle(entry, cents(3))


async def test_two_hundred_calls_at_once_never_pass_one_dollar_by_more_than_one_call(ledger, store):
    who = key(day=DOLLAR)
    admitted = refused = 0
    open_calls = most_open = 0

    async def call() -> None:
        nonlocal admitted, refused, open_calls, most_open
        try:
            entry = await begin(ledger, who, max_tokens=64_000)
        except BudgetExhausted:
            refused += 1
            return
        admitted += 1
        open_calls += 1
        most_open = max(most_open, open_calls)
        await asyncio.sleep(0.01)
        open_calls -= 1
        ledger.settle(entry, cents(3))

    await asyncio.gather(*(call() for _ in range(200)))
    now = await balance(store, who)
    assert admitted + refused == 200
    assert DOLLAR <= now.day_spent < DOLLAR + 30_000_000
    assert now.day_reserved == 0
    assert admitted == 34  # 33 calls of 3 cents are 99 cents, so one more passes
    assert most_open > 1  # what was learned lets them run side by side


async def test_before_anything_is_learned_the_longest_answer_is_held_and_nobody_is_refused(ledger, store):
    who = key(day=5 * DOLLAR)
    entries = []

    async def agent() -> None:
        entry = await begin(ledger, who, max_tokens=64_000)  # 96 cents at most
        entries.append(entry)
        await asyncio.sleep(0.02)
        ledger.settle(entry, cents(3))

    async with asyncio.timeout(10):
        await asyncio.gather(*(agent() for _ in range(20)))
    assert len(entries) == 20
    assert (await balance(store, who)).day_spent == 600_000_000


async def test_twenty_agents_with_a_large_max_tokens_run_at_once_once_their_size_is_known(ledger):
    who = key(day=5 * DOLLAR)
    await teach(ledger, who, cents(3), 64_000)
    async with asyncio.timeout(10):
        entries = await asyncio.gather(*(begin(ledger, who, 64_000) for _ in range(20)))
    assert {entry.reserved for entry in entries} == {30_000_000}
    for entry in entries:
        ledger.settle(entry, cents(3))


async def test_when_calls_under_way_hold_the_rest_the_next_waits_for_its_turn(ledger, monkeypatch):
    monkeypatch.setattr(module, "LOOK_AGAIN_AFTER", 600)  # what comes free here is told, not looked for
    who = key(day=DOLLAR)
    first = await begin(ledger, who, max_tokens=60_000)
    order = []

    async def wait(name: str) -> None:
        entry = await begin(ledger, who, max_tokens=60_000)
        order.append(name)
        ledger.settle(entry, cents(3))

    waiting = []
    for name in "abc":
        waiting.append(asyncio.create_task(wait(name)))
        await asyncio.sleep(0.02)
    assert order == []
    ledger.settle(first, cents(3))
    async with asyncio.timeout(20):
        await asyncio.gather(*waiting)
    assert order == ["a", "b", "c"]
    assert not ledger._lines


async def test_a_small_call_does_not_pass_a_large_one_that_waits(ledger):
    who = key(day=DOLLAR)
    first = await begin(ledger, who, max_tokens=60_000)
    order = []

    async def wait(name: str, max_tokens: int) -> None:
        entry = await begin(ledger, who, max_tokens)
        order.append(name)
        ledger.settle(entry, cents(3))

    large = asyncio.create_task(wait("large", 60_000))
    await asyncio.sleep(0.02)
    small = asyncio.create_task(wait("small", 1000))
    await asyncio.sleep(0.05)
    assert order == []
    ledger.settle(first, cents(3))
    await asyncio.gather(large, small)
    assert order == ["large", "small"]


async def test_one_who_leaves_the_line_holds_nobody_up(ledger, store):
    who = key(day=DOLLAR)
    first = await begin(ledger, who, max_tokens=60_000)
    leaver = asyncio.create_task(begin(ledger, who, max_tokens=60_000))
    stayer = asyncio.create_task(begin(ledger, who, max_tokens=60_000))
    await asyncio.sleep(0.05)
    leaver.cancel()
    ledger.settle(first, cents(3))
    ledger.settle(await stayer, cents(3))
    assert leaver.cancelled()
    assert (await balance(store, who)).day_reserved == 0


async def test_the_wait_has_an_end(ledger, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.1)
    who = key(day=DOLLAR)
    entry = await begin(ledger, who, max_tokens=60_000)
    with pytest.raises(RateLimited, match="under way hold the rest"):
        await begin(ledger, who, max_tokens=60_000)
    ledger.settle(entry, cents(3))


async def test_a_caller_who_leaves_before_the_commit_leaves_no_reservation(ledger, store):
    who = key(day=DOLLAR)
    for delay in (0, 0.0001, 0.001):
        task = asyncio.create_task(begin(ledger, who))
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            ledger.settle(task.result(), Usage.none(MODEL), outcome="canceled")
    await store.flush()
    rows = await store.read(lambda connection: connection.execute(select(calls.c.status)).scalars().all())
    assert "started" not in rows
    assert (await balance(store, who)).day_reserved == 0


async def test_a_call_is_booked_once_although_its_commits_seemed_to_fail(ledger, store, lose_acknowledgement):
    who = key(day=DOLLAR, month=DOLLAR)
    lose_acknowledgement()
    entry = await begin(ledger, who)
    held = entry.reserved
    assert await balance(store, who) == Balance(who.id, "2026-11-22", 0, held, "2026-11", 0, held)
    lose_acknowledgement()
    ledger.settle(entry, cents(3))
    assert await balance(store, who) == Balance(who.id, "2026-11-22", 30_000_000, 0, "2026-11", 30_000_000, 0)
    booked = await store.read(lambda c: c.execute(select(usage_daily.c.requests, usage_daily.c.cost)).all())
    assert booked == [(1, 30_000_000)]


async def test_what_reserves_nothing_is_refused_by_what_is_spent_alone(ledger, store, clock):
    who = key(day=DOLLAR)
    ledger.settle(await begin(ledger, who), cents(3))
    running = await begin(ledger, who, max_tokens=65_000)
    await ledger.check_budget(who)
    ledger.settle(running, cents(99))
    await store.flush()
    with pytest.raises(BudgetExhausted):
        await ledger.check_budget(who)
    clock.now += 86_400
    await ledger.check_budget(who)


async def test_a_new_budget_is_looked_at_with_what_was_spent_before(ledger, store):
    ledger.settle(await begin(ledger, key()), cents(30))
    await store.flush()
    with pytest.raises(BudgetExhausted):
        await ledger.check_budget(key(day=300_000_000))
    await ledger.check_budget(key(day=300_000_001))


async def test_two_replicas_share_one_budget(database_url):
    stores = [Store(database_url), Store(database_url)]
    ledgers = [Ledger(store, PRICES, ZoneInfo("UTC")) for store in stores]
    who = key(day=DOLLAR)
    admitted = 0

    async def call(number: int) -> None:
        nonlocal admitted
        ledger = ledgers[number % 2]
        try:
            entry = await begin(ledger, who, max_tokens=2000)  # 3 cents, the call's price
        except BudgetExhausted:
            return
        admitted += 1
        await asyncio.sleep(0.005)
        ledger.settle(entry, cents(3))

    await asyncio.gather(*(call(number) for number in range(200)))
    now = await balance(stores[0], who)
    await stores[1].flush()
    now = await balance(stores[0], who)
    assert admitted == 34
    assert (now.day_spent, now.day_reserved) == (34 * 30_000_000, 0)
    for ledger, store in zip(ledgers, stores, strict=True):
        await ledger.close()
        await store.close()


def test_a_reservation_is_learned_for_the_key_else_for_the_model_else_quoted():
    learned = Learned()

    def reservation(who, model=MODEL, max_tokens=64_000):
        return learned.reservation(who, model, max_tokens, 1000, 500_000)

    assert reservation("a") == 501_000
    for _ in range(ENOUGH_SAMPLES):
        learned.add("a", MODEL, 64_000, Sample(0.5, 7_000))
    assert reservation("a") == 7_500
    assert reservation("b") == 7_500  # another key, the same model
    assert reservation("a", "claude-opus-4-8") == 501_000
    assert (
        reservation("a", max_tokens=1024) == 501_000
    )  # short answers say nothing about agents, nor they about them
    for _ in range(ENOUGH_SAMPLES):
        learned.add("b", MODEL, 64_000, Sample(1.0, 90_000))
    assert reservation("a") == 7_500
    assert reservation("b") == 91_000


def test_what_is_learned_is_the_95th_percentile_of_the_latest_hundred():
    learned = Learned()
    for number in range(1, 101):
        learned.add("a", MODEL, 1000, Sample(0, number))
    assert learned.reservation("a", MODEL, 1000, 0, 0) == 95
    for _ in range(100):
        learned.add("a", MODEL, 1000, Sample(0, 5))
    assert learned.reservation("a", MODEL, 1000, 0, 0) == 5


async def test_what_is_held_follows_from_what_prompts_and_answers_cost(ledger):
    who = key(day=100 * DOLLAR)
    half_cached = Usage.read(
        MODEL, {"input_tokens": 500, "cache_read_input_tokens": 500, "output_tokens": 100}
    )
    for _ in range(ENOUGH_SAMPLES):
        ledger.settle(await begin(ledger, who, 64_000, input_tokens=1000), half_cached)
    entry = await begin(ledger, who, 64_000, input_tokens=2000)
    assert entry.reserved == 3_300_000 + 1_500_000  # 55 % of 6,000,000, and 100 x 15,000
    ledger.settle(entry, half_cached)


@pytest.mark.parametrize(
    ("usage", "outcome"),
    [
        (cents(3), "canceled"),
        (cents(3), "failed"),
        (Usage.none(MODEL), "done"),
        (Usage.floor(MODEL, {"output_tokens": 100}), "done"),
        (Usage.read("gpt-6", {"output_tokens": 100}), "done"),
    ],
    ids=["canceled", "failed", "refused", "cut off", "without a price"],
)
async def test_only_a_whole_answer_with_a_price_teaches_what_to_hold(ledger, usage, outcome):
    who = key(day=100 * DOLLAR)
    for _ in range(ENOUGH_SAMPLES):
        ledger.settle(await begin(ledger, who, 64_000), usage, outcome=outcome)
    entry = await begin(ledger, who, 64_000)
    assert entry.reserved == 960_000_000
    ledger.settle(entry, cents(3))


def test_what_costs_nothing_holds_something():
    """Nothing is held for keys without a budget alone: what holds nothing passes a budget that is used up."""
    learned = Learned()
    assert learned.reservation("a", MODEL, 1000, 0, 0) == 1
    for _ in range(ENOUGH_SAMPLES):
        learned.add("a", MODEL, 1000, Sample(0, 0))
    assert learned.reservation("a", MODEL, 1000, 500, 500) == 1


def test_what_is_in_use_is_not_forgotten(monkeypatch):
    monkeypatch.setattr("gateway.budgets.GROUPS", 4)
    learned = Learned()
    for number in range(20):
        learned.add("a", MODEL, 1000, Sample(0, 7))
        learned.add("b", f"model {number}", 1000, Sample(0, 9))
    assert learned.reservation("a", MODEL, 1000, 500, 500) == 7


def test_the_memory_of_what_was_learned_is_bounded():
    learned = Learned()
    for number in range(GROUPS):
        learned.add(f"key {number}", f"model {number}", 1000, Sample(1, 1))
    assert len(learned._groups) == GROUPS


async def test_a_start_of_yesterday_holds_nothing_of_today(ledger, store, clock):
    """Replicas' clocks differ, or a call stood in line over midnight while another opened the new day."""
    who = key(day=DOLLAR, month=DOLLAR)
    ledger.settle(await begin(ledger, who), cents(3))
    clock.now = datetime.fromisoformat("2026-12-01T12:00:00+01:00").timestamp()
    ledger.settle(await begin(ledger, who), cents(3))
    clock.now = datetime.fromisoformat("2026-11-30T12:00:00+01:00").timestamp()
    late = await begin(ledger, who)
    held = await balance(store, who)
    assert (held.day, held.day_reserved, held.month_reserved) == ("2026-12-01", 0, 0)
    ledger.settle(late, cents(3))
    assert await balance(store, who) == held


@pytest.mark.parametrize("days", [400, 3, -3, -15_000], ids=lambda days: f"{days} days")
async def test_a_clock_that_was_wrong_for_a_while_leaves_the_budget_as_the_ledger_has_it(
    ledger, store, clock, days
):
    """A NAS whose battery is empty starts in another year; the time server sets it right later."""
    who, right = key(day=DOLLAR, month=DOLLAR), clock.now
    ledger.settle(await begin(ledger, who), cents(60))
    open_from_before = await begin(ledger, who)
    clock.now = right + days * 86_400
    wrong = await begin(ledger, who)
    clock.now = right
    with pytest.raises(BudgetExhausted):
        await ledger.check_budget(key(day=600_000_000))
    running = await begin(ledger, who)
    now = await balance(store, who)
    held = open_from_before.reserved + running.reserved
    assert (now.day, now.day_spent, now.day_reserved) == ("2026-11-22", 600_000_000, held)
    for entry in (open_from_before, wrong, running):
        ledger.settle(entry, cents(9))
    await store.flush()
    ledger.settle(await begin(ledger, who), cents(30))
    now = await balance(store, who)
    assert (now.day, now.day_spent, now.day_reserved) == ("2026-11-22", 1_080_000_000, 0)
    with pytest.raises(BudgetExhausted):
        await begin(ledger, who)
    with pytest.raises(BudgetExhausted):
        await ledger.check_budget(who)


async def test_a_zone_further_west_begins_with_what_its_day_has_spent(store, clock):
    """BUDGET_TIMEZONE is changed between two starts, and it is the day before again."""
    who = key(day=600_000_000, month=10 * DOLLAR)

    async def spend(zone: str, moment: str) -> None:
        clock.now = datetime.fromisoformat(moment).timestamp()
        ledger = Ledger(store, PRICES, ZoneInfo(zone), clock)
        try:
            while True:
                ledger.settle(await begin(ledger, who), cents(30))
        except BudgetExhausted:
            await ledger.close()

    await spend("Pacific/Auckland", "2026-11-30T12:00:00+00:00")
    assert (await balance(store, who)).day == "2026-12-01"
    await spend("UTC", "2026-11-30T12:00:00+00:00")
    assert await balance(store, who) == Balance(
        who.id, "2026-11-30", 600_000_000, 0, "2026-11", 600_000_000, 0
    )
    await spend("UTC", "2026-12-01T12:00:00+00:00")  # a day whose budget was used up in Auckland
    sums = await store.read(
        lambda connection: connection.execute(select(usage_daily.c.day, usage_daily.c.cost)).all()
    )
    assert sorted(map(tuple, sums)) == [("2026-11-30", 600_000_000), ("2026-12-01", 600_000_000)]


async def test_a_replica_that_starts_before_midnight_leaves_the_new_day_alone(ledger, store, clock):
    who = key(day=DOLLAR)
    clock.now = datetime.fromisoformat("2026-11-23T00:00:01+01:00").timestamp()
    ledger.settle(await begin(ledger, who), cents(30))
    before = await balance(store, who)
    clock.now -= 2
    late = Ledger(store, PRICES, ZoneInfo("Europe/Berlin"), clock)
    assert await balance(store, who) == before
    await late.close()


async def test_a_balance_reckoned_anew_has_the_whole_month_of_its_key_alone(ledger, store, clock):
    who, other = key(day=DOLLAR, month=DOLLAR), key("other", day=DOLLAR, month=DOLLAR)

    def go_to(day: str) -> None:
        clock.now = datetime.fromisoformat(f"{day}T12:00:00+01:00").timestamp()

    for day in ("2026-10-31", "2026-11-01", "2026-11-10", "2026-11-25", "2026-12-01"):
        go_to(day)
        for one in (who, other):
            ledger.settle(await begin(ledger, one), cents(3))
        await store.flush()
    go_to("2026-11-10")
    others_call = await begin(ledger, other)
    call = await begin(ledger, who)
    held = call.reserved
    assert await balance(store, who) == Balance(
        who.id, "2026-11-10", 30_000_000, held, "2026-11", 90_000_000, held
    )
    for entry in (others_call, call):
        ledger.settle(entry, cents(3))
