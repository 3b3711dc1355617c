import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import uvloop

from gateway.errors import RateLimited
from gateway.keys import Key, Limits
from gateway.limits import RATE_LIMIT_HEADERS, Admission, Limiter
from gateway.limits import limiter as module
from gateway.limits import shared as shared_module
from gateway.limits.gate import Gate
from gateway.limits.local import LocalCounters
from gateway.limits.shared import SharedCounters
from gateway.limits.window import Demand, Window
from gateway.usage import Usage
from tests import servers
from tests.support.clock import Clock

MODEL = "claude-sonnet-4-20250514"


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


@pytest.fixture
def limiter(clock: Clock) -> Limiter:
    return Limiter(now=clock)


def key(name="app", requests=None, inputs=None, outputs=None, concurrency=None) -> Key:
    return Key(f"key_{name}", name, frozenset(), limits=Limits(requests, inputs, outputs, concurrency))


def used(input_tokens=0, output_tokens=0, read=0, written=0) -> Usage:
    return Usage.read(
        MODEL,
        {
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": written,
        },
    )


async def admit(limiter: Limiter, who: Key, input_tokens: int = 0) -> Admission:
    """Let a call in, and count its prompt if it has one."""
    admission = Admission(who)
    try:
        await limiter.admit(admission)
        if input_tokens:
            await limiter.take_tokens(admission, input_tokens)
    except RateLimited:
        limiter.release(admission)
        raise
    return admission


async def test_without_limits_everything_passes(limiter):
    for _ in range(1000):
        limiter.release(await admit(limiter, key(), 10**9), used(10**9, 10**9))


async def test_requests_a_minute(limiter, clock):
    app = key(requests=3)
    for remaining in (2, 1, 0):
        admission = await admit(limiter, app)
        (quota,) = admission.quotas
        assert (quota.kind, quota.limit, quota.remaining) == ("requests", 3, remaining)
        limiter.release(admission)
    with pytest.raises(RateLimited, match="limit of 3 requests a minute") as refusal:
        await admit(limiter, app)
    # The window of these three ends in 60 s, and one of them has faded from it 20 s later.
    assert refusal.value.retry_after == 61
    await admit(limiter, key("other", requests=3))
    clock.now += 60
    with pytest.raises(RateLimited):
        await admit(limiter, app)
    clock.now += 1
    await admit(limiter, app)


async def test_a_refused_call_tells_its_limits_in_headers(limiter):
    app = key(requests=2, outputs=50)
    for _ in range(2):
        last = await admit(limiter, app, 5)
    headers = dict(header for quota in last.quotas for header in quota.headers())
    assert {name.decode() for name in headers} < set(RATE_LIMIT_HEADERS)
    assert headers[b"anthropic-ratelimit-requests-limit"] == b"2"
    assert headers[b"anthropic-ratelimit-requests-remaining"] == b"0"
    assert headers[b"anthropic-ratelimit-output-tokens-remaining"] == b"50"
    assert headers[b"anthropic-ratelimit-requests-reset"].endswith(b"Z")
    refused = Admission(app)
    with pytest.raises(RateLimited) as refusal:
        await limiter.admit(refused)
    assert [(quota.kind, quota.remaining) for quota in refused.quotas] == [("requests", 0)]
    assert refusal.value.reason == "rpm"
    assert dict(refusal.value.headers) == {b"retry-after": b"%d" % refusal.value.retry_after}


async def test_coming_again_after_retry_after_is_let_in(limiter, clock):
    app = key(requests=7)
    luck = random.Random(1)
    refused = 0
    for _ in range(500):
        clock.now += luck.expovariate(0.2)
        try:
            await admit(limiter, app)
        except RateLimited as refusal:
            refused += 1
            clock.now += refusal.retry_after
            await admit(limiter, app)
    assert refused > 20


async def test_a_refused_call_counts_for_nothing(limiter):
    app = key(requests=2, outputs=10)
    limiter.release(await admit(limiter, app, 1), used(0, 10))
    for _ in range(5):
        with pytest.raises(RateLimited, match="output tokens"):
            await admit(limiter, app, 1)
    admission = await admit(limiter, app)  # a call without tokens
    assert admission.quotas[0].remaining == 0


async def test_input_tokens_are_estimated_then_counted(limiter):
    app = key(inputs=1000)
    first = await admit(limiter, app, 600)
    with pytest.raises(RateLimited, match="1000 input tokens"):
        await admit(limiter, app, 600)
    limiter.release(first, used(100, 5, written=100))
    # Of 600 estimated 200 counted, so of the next 600 as many are expected.
    assert (await admit(limiter, app, 600)).quotas[0].remaining == 1000 - 200 - 200


async def test_cache_reads_are_free_and_a_long_cached_prompt_holds_nobody_up(limiter, clock):
    app = key(inputs=20_000)
    for _ in range(30):
        clock.now += 5
        admission = await admit(limiter, app, 120_000)
        limiter.release(admission, used(500, 100, read=119_500))
    assert limiter._local.look("input-tokens/key_app").used <= 13 * 500


async def test_a_prompt_larger_than_the_limit_passes_alone(limiter, clock):
    app = key(inputs=1000)
    admission = await admit(limiter, app, 50_000)
    limiter.release(admission, used(50_000, 1))
    with pytest.raises(RateLimited):
        await admit(limiter, app, 1)
    clock.now += 121
    await admit(limiter, app, 50_000)


async def test_output_tokens_are_counted_as_they_were(limiter, clock):
    app = key(outputs=100)
    limiter.release(await admit(limiter, app, 1), used(1, 250))
    with pytest.raises(RateLimited, match="100 output tokens") as refusal:
        await admit(limiter, app, 1)
    clock.now += refusal.value.retry_after
    await admit(limiter, app, 1)


async def test_a_call_that_failed_gives_its_tokens_back(limiter):
    app = key(inputs=100)
    limiter.release(await admit(limiter, app, 100))
    limiter.release(await admit(limiter, app, 100))


async def test_what_is_given_back_after_the_windows_end_lets_no_more_through(limiter, clock):
    """The count stands in the former window by then: the running one owes nobody anything."""
    app = key(inputs=100)
    calls = [await admit(limiter, app, 50) for _ in range(2)]
    clock.now += 119
    for call in calls:
        limiter.release(call, used(0, 1, read=50))
    limiter._ratios.clear()
    for _ in range(2):
        await admit(limiter, app, 50)
    with pytest.raises(RateLimited, match="input tokens"):
        await admit(limiter, app, 1)


async def test_a_part_given_back_after_the_windows_end_leaves_the_rest_counted(limiter, clock):
    app = key(inputs=100)
    call = await admit(limiter, app, 100)
    clock.now += 60
    limiter.release(call, used(40, 1))
    window = limiter._local.look("input-tokens/key_app")
    assert (window.previous, window.current, window.used) == (40, 0, 40)


async def test_releasing_twice_counts_once(limiter):
    app = key(outputs=100, concurrency=1)
    admission = await admit(limiter, app, 1)
    for _ in range(3):
        limiter.release(admission, used(1, 10))
    assert limiter.running(app.id) == 0
    assert (await admit(limiter, app, 1)).quotas[0].remaining == 90


async def test_calls_at_a_time_wait_in_order(limiter):
    app = key(concurrency=2)
    order = []

    async def call(number: int) -> None:
        admission = await admit(limiter, app)
        order.append(number)
        assert limiter.running(app.id) <= 2
        await asyncio.sleep(0.001)
        limiter.release(admission)

    await asyncio.gather(*(call(number) for number in range(50)))
    assert order == list(range(50))
    assert (limiter.running(app.id), limiter.queued) == (0, 0)


async def test_who_finds_no_place_counts_for_nothing(limiter, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_QUEUE", 1)
    app = key(requests=3, concurrency=1)
    first = await admit(limiter, app)
    leaving = asyncio.create_task(admit(limiter, app))
    await asyncio.sleep(0)
    for _ in range(5):
        with pytest.raises(RateLimited, match="at a time"):
            await admit(limiter, app)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    limiter.release(first)
    assert (await admit(limiter, app)).quotas[0].remaining == 1


async def test_the_queue_is_bounded_and_the_wait_has_an_end(limiter, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_QUEUE", 1)
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.05)
    app = key(requests=100, inputs=1000, concurrency=1)
    first = await admit(limiter, app, 10)
    waiting = asyncio.create_task(admit(limiter, app, 10))
    await asyncio.sleep(0)
    with pytest.raises(RateLimited, match="1 calls at a time"):
        await admit(limiter, app, 10)
    with pytest.raises(RateLimited, match="1 calls at a time"):
        await waiting
    limiter.release(first)
    assert limiter._local.look("input-tokens/key_app").used == 0
    limiter.release(await admit(limiter, app))


async def test_those_who_leave_the_queue_lose_no_place():
    gate = Gate(longest_queue=1000)
    luck = random.Random(7)
    running = most = 0

    async def call() -> None:
        nonlocal running, most
        await gate.enter(3, 5)
        try:
            running += 1
            most = max(most, running)
            await asyncio.sleep(luck.random() * 0.002)
        finally:
            running -= 1
            gate.leave(3)

    tasks = [asyncio.create_task(call()) for _ in range(400)]
    for task in luck.sample(tasks, 200):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait(tasks)
    assert most == 3
    assert (gate.running, gate.queued) == (0, 0)


async def test_one_who_is_called_and_leaves_at_once_passes_the_place_on():
    gate = Gate(longest_queue=10)
    await gate.enter(1, 1)
    leaver = asyncio.create_task(gate.enter(1, 1))
    stayer = asyncio.create_task(gate.enter(1, 1))
    await asyncio.sleep(0)
    gate.leave(1)
    leaver.cancel()
    await asyncio.wait_for(stayer, 10)
    assert leaver.cancelled()
    assert gate.running == 1


async def test_a_raised_limit_lets_more_in():
    gate = Gate(longest_queue=10)
    await gate.enter(1, 1)
    waiting = [asyncio.create_task(gate.enter(1, 1)) for _ in range(3)]
    await asyncio.sleep(0)
    gate.leave(3)
    await asyncio.gather(*waiting)
    assert gate.running == 3


async def test_a_call_refused_for_its_answers_has_counted_no_prompt(limiter):
    app = key(inputs=1000, outputs=100)
    limiter.release(await admit(limiter, app, 300), used(300, 100))
    with pytest.raises(RateLimited, match="output tokens"):
        await admit(limiter, app, 200)
    assert limiter._local.look("input-tokens/key_app").used == 300


async def test_the_limit_that_takes_longest_is_told(limiter, clock):
    app = key(inputs=100, outputs=100)
    admission = await admit(limiter, app, 100)
    clock.now += 30
    limiter.release(admission, used(100, 100))
    with pytest.raises(RateLimited, match="100 input tokens a minute") as refused:
        await admit(limiter, app, 50)
    assert (b"retry-after", b"60") in refused.value.headers


async def test_what_was_counted_of_a_prompt_is_replaced_by_what_it_used(limiter):
    app = key(inputs=1000)
    limiter.release(await admit(limiter, app, 100), used(50, 1))
    admission = await admit(limiter, app, 100)
    assert limiter._local.look("input-tokens/key_app").used == 50 + 50
    limiter.release(admission, used(80, 1))
    assert limiter._local.look("input-tokens/key_app").used == 50 + 80


async def test_all_that_is_written_to_the_cache_counts(limiter):
    app = key(inputs=1000)
    split = {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200}
    usage = Usage.read(MODEL, {"input_tokens": 1, "cache_creation": split})
    limiter.release(await admit(limiter, app, 10), usage)
    assert limiter._local.look("input-tokens/key_app").used == 301


async def test_how_much_of_a_prompt_counts_is_learned_slowly_and_from_whole_calls_alone(limiter):
    app = key(inputs=10_000)
    limiter.release(await admit(limiter, app, 100), Usage.floor(MODEL, {"input_tokens": 900}))
    assert limiter._ratios == {}
    limiter.release(await admit(limiter, app, 100), used(900, 1))
    assert limiter._ratios == {"key_app": 2.0}  # an estimate is never blown up further
    limiter.release(await admit(limiter, app, 100), used(100, 1))
    assert limiter._ratios == {"key_app": pytest.approx(2.0 - module.SMOOTHING)}


async def test_a_place_of_several_that_comes_free_is_taken(limiter):
    app = key(concurrency=2)
    first, _ = [await admit(limiter, app) for _ in range(2)]
    waiting = asyncio.create_task(admit(limiter, app))
    await asyncio.sleep(0)
    limiter.release(first)
    await asyncio.wait_for(waiting, 10)


async def test_a_raised_limit_lets_nobody_past_those_who_wait():
    gate = Gate(longest_queue=10)
    await gate.enter(1, 1)
    waiting = asyncio.create_task(gate.enter(1, 60))
    await asyncio.sleep(0)
    assert not gate.try_enter(2)
    gate.leave(2)
    await waiting
    assert gate.try_enter(2)


def test_after_minutes_without_a_call_a_window_begins_anew(clock):
    counters = LocalCounters(clock)
    counters.add("x", 10)
    clock.now += 205.0
    assert counters.look("x") == Window(0, 0, 35.0)
    counters.add("x", -10)  # of a call that took all that time: nobody is owed anything
    assert counters.look("x") == Window(0, 0, 35.0)
    assert [counters.take(Demand("x", 3, 1))[0] for _ in range(4)] == [True, True, True, False]


def test_a_window_ends_when_its_minute_is_over(clock):
    counters = LocalCounters(clock)
    counters.take(Demand("x", 2, 1))
    clock.now += 60.0
    assert counters.take(Demand("x", 2, 1)) == (True, Window(1, 1, 60.0))


def test_no_minute_of_even_traffic_holds_more_than_the_limit(clock):
    counters = LocalCounters(clock)
    taken: list[float] = []
    for _ in range(4000):
        clock.now += 0.1
        if counters.take(Demand("x", 100, 1))[0]:
            taken.append(clock.now)
    for start in taken:
        assert sum(start <= moment < start + 60 for moment in taken) <= 102


def later(window: Window, seconds: float) -> Window:
    """The window after some time in which nothing came."""
    if seconds < window.left:
        return window._replace(left=window.left - seconds)
    return Window(window.current, 0, 60 - (seconds - window.left))


@pytest.mark.parametrize("amount", [0, 1, 5, 10])
@pytest.mark.parametrize(
    "window", [Window(0, 0, 60), Window(10, 0, 60), Window(0, 10, 30), Window(100, 0, 60), Window(9, 8, 1)]
)
def test_after_the_computed_wait_there_is_room_and_not_before(window, amount):
    demand = Demand("x", 10, amount)
    wait = window.retry_after(demand)
    assert later(window, wait).fits(demand)
    assert wait == 0 or not later(window, wait - 0.1).fits(demand)
    assert later(window, window.reset_after()).used == 0


async def test_the_hot_path_is_cheap(limiter):
    app = key(10**9, 10**9, 10**9, 10**6)
    started = time.process_time()
    for _ in range(2000):
        limiter.release(await admit(limiter, app, 100), used(100, 10))
    assert (time.process_time() - started) / 2000 < 100e-6


@pytest.fixture
def redis_server() -> Iterator[tuple[str, object]]:
    with servers.redis() as server:
        yield server


@pytest.fixture
async def replicas(redis_server) -> AsyncIterator[list[Limiter]]:
    opened = [Limiter(SharedCounters(redis_server[0])) for _ in range(2)]
    for limiter in opened:
        await limiter.start()
    yield opened
    for limiter in opened:
        await limiter.close()


async def test_replicas_share_the_limits(replicas):
    app = key(requests=20)
    results = await asyncio.gather(
        *(admit(replicas[number % 2], app) for number in range(40)), return_exceptions=True
    )
    assert sum(isinstance(result, RateLimited) for result in results) == 20
    with pytest.raises(RateLimited) as refusal:
        await admit(replicas[0], app)
    assert 55 <= refusal.value.retry_after <= 65


async def test_replicas_share_the_tokens(replicas):
    app = key(inputs=1000, outputs=100)
    first = await admit(replicas[0], app, 900)
    with pytest.raises(RateLimited, match="input tokens"):
        await admit(replicas[1], app, 900)
    replicas[0].release(first, used(100, 99, read=800))
    await asyncio.sleep(0.05)
    second = await admit(replicas[1], app, 500)
    assert second.quotas[0].remaining == 1000 - 100 - 500
    replicas[1].release(second, used(500, 1))
    await asyncio.sleep(0.05)
    with pytest.raises(RateLimited, match="output tokens"):
        await admit(replicas[0], app, 1)


async def test_replicas_share_the_places(replicas):
    app = key(concurrency=3)
    running = most = 0

    async def call(number: int) -> None:
        nonlocal running, most
        admission = await admit(replicas[number % 2], app)
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        replicas[number % 2].release(admission)

    await asyncio.gather(*(call(number) for number in range(20)))
    assert most == 3


async def test_what_is_given_back_to_redis_comes_from_the_window_that_has_it(replicas):
    names = shared_module._window_keys("input-tokens/key_app")
    shared = replicas[0].shared
    for name, count in zip(names, (80, 10), strict=True):
        await shared._redis.set(name, count, px=100_000)
    await shared.add("input-tokens/key_app", -50)
    assert [int(await shared._redis.get(name)) for name in names] == [40, 0]
    await shared.add("input-tokens/key_app", -500)
    assert [int(await shared._redis.get(name)) for name in names] == [0, 0]
    assert min([await shared._redis.pttl(name) for name in names]) > 90_000


async def test_nothing_given_back_to_redis_makes_room_that_was_not_there(replicas):
    app = key(inputs=100)
    await replicas[0].shared.add("input-tokens/key_app", -500)
    await admit(replicas[1], app, 100)
    with pytest.raises(RateLimited, match="input tokens"):
        await admit(replicas[1], app, 1)


async def test_who_leaves_while_redis_is_asked_holds_no_place(replicas):
    app = key(concurrency=1)
    leaving = Admission(app)
    asking = asyncio.create_task(replicas[0].admit(leaving))
    for _ in range(3):  # its question is on the way
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    replicas[0].release(leaving)
    async with asyncio.timeout(5):  # a place that nobody gives back is free after SLOT_LEASE
        await admit(replicas[1], app)


async def test_places_of_a_replica_that_died_come_free(redis_server, monkeypatch):
    monkeypatch.setattr(shared_module, "SLOT_LEASE", 0.3)
    dead, alive = SharedCounters(redis_server[0]), SharedCounters(redis_server[0])
    assert await dead.take_slot("x", 1)
    assert await alive.take_slot("x", 1) is None
    await asyncio.sleep(0.4)
    assert await alive.take_slot("x", 1)
    dead._slots.clear()
    for counters in (dead, alive):
        await counters.close()


async def test_a_call_may_last_longer_than_a_lease(redis_server, monkeypatch):
    monkeypatch.setattr(shared_module, "SLOT_LEASE", 1.5)
    holder, other = SharedCounters(redis_server[0]), SharedCounters(redis_server[0])
    await holder.start()
    slot = await holder.take_slot("x", 1)
    assert slot is not None
    await asyncio.sleep(2.0)
    assert await other.take_slot("x", 1) is None
    await holder.give_slot(slot)
    assert await other.take_slot("x", 1) is not None
    other._slots.clear()
    for counters in (holder, other):
        await counters.close()


async def test_who_finds_all_places_held_by_other_replicas_waits_for_a_while_only(replicas, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.2)
    app = key(concurrency=1)
    held = await admit(replicas[0], app)
    with pytest.raises(RateLimited, match="1 calls at a time"):
        await admit(replicas[1], app)
    replicas[0].release(held)


@pytest.mark.parametrize("fault", ["stopped", "killed"])
async def test_without_redis_requests_go_on_within_fifty_milliseconds(redis_server, fault):
    url, process = redis_server
    shared = SharedCounters(url)
    limiter = Limiter(shared)
    await limiter.start()
    app = key(requests=30, inputs=10**6, outputs=10**6, concurrency=10)
    limiter.release(await admit(limiter, app, 1), used(1, 1))
    await asyncio.sleep(0.05)
    process.send_signal(signal.SIGSTOP if fault == "stopped" else signal.SIGKILL)
    times = []
    admitted = 0
    for _ in range(40):
        started = time.perf_counter()
        try:
            limiter.release(await admit(limiter, app, 1), used(1, 1))
            admitted += 1
        except RateLimited:
            pass
        times.append(time.perf_counter() - started)
    # Three wait 50 ms in vain, then Redis is left alone: the median tells, even on a busy machine.
    assert sorted(times)[20] < 0.05
    assert admitted == 30  # this replica counts on its own
    assert not shared.available
    assert shared.failures >= 3
    process.send_signal(signal.SIGCONT)
    await limiter.close()


def test_a_gateway_that_is_busy_does_not_take_redis_for_dead(redis_server):
    async def busy() -> None:
        for _ in range(10):
            time.sleep(0.08)  # noqa: ASYNC251 - the loop shall be held up
            await asyncio.sleep(0)

    async def rush() -> tuple[int, int]:
        shared = SharedCounters(redis_server[0])
        limiter = Limiter(shared)
        await limiter.start()
        app = key(requests=5)
        calls = (admit(limiter, app) for _ in range(20))
        results = await asyncio.gather(busy(), *calls, busy(), return_exceptions=True)
        await limiter.close()
        return sum(isinstance(result, RateLimited) for result in results), shared.failures

    # The server's own loop, which looks at its timers before it looks at its sockets.
    assert uvloop.run(rush()) == (15, 0)


async def test_redis_is_asked_again_after_its_rest(redis_server, clock, monkeypatch):
    url, process = redis_server
    shared = SharedCounters(url, clock)
    process.send_signal(signal.SIGSTOP)
    limiter = Limiter(shared)
    for _ in range(3):
        await admit(limiter, key(requests=100))
    process.send_signal(signal.SIGCONT)
    await admit(limiter, key(requests=100))
    assert not shared.available
    clock.now += shared_module.REST
    assert shared.available
    quota = (await admit(limiter, key(requests=100))).quotas[0]
    assert quota.remaining >= 95  # Redis has seen few of these calls
    assert shared._in_a_row == 0
    await limiter.close()
