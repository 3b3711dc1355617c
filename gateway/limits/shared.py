"""Counts in Redis, for replicas that share their limits.

All that calls ask while Redis is busy with an answer goes out together with the next question, in one
pipeline: Redis is one journey away however many calls come at once.
"""

import asyncio
import contextlib
import logging
import secrets
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple

from limits.aio.storage import RedisStorage
from limits.aio.storage.redis.redispy import RedispyBridge
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.limits.errors import SharedUnavailableError
from gateway.limits.window import SECONDS, Demand, Window
from gateway.tasks import keep, stop

log = logging.getLogger(__name__)

PREFIX = "anthropic-gateway"

TIMEOUT = 0.05
"""Seconds that a request waits for Redis."""

TICKS = 10
"""Parts in which it is waited for: time in which the event loop was busy elsewhere counts as one part."""

START_TIMEOUT = 1.0
"""Seconds that the start waits for it."""

FAILURES = 3
"""Failures in a row after which Redis is left alone for a while."""

REST = 5.0
"""Seconds that it is left alone."""

SLOT_LEASE = 60.0
"""Seconds after which a slot is free again whose replica died."""

_TAKE_SLOT = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[4])
redis.call('PEXPIREAT', KEYS[1], ARGV[3])
return 1
"""
_RENEW_SLOT = """
redis.call('ZADD', KEYS[1], 'XX', ARGV[1], ARGV[2])
redis.call('PEXPIREAT', KEYS[1], ARGV[1])
"""
_GIVE_SLOT = "return redis.call('ZREM', KEYS[1], ARGV[1])"
_GIVE_BACK = """
local rest = tonumber(ARGV[1])
for _, key in ipairs({KEYS[2], KEYS[1]}) do
  local part = math.min(rest, tonumber(redis.call('GET', key)) or 0)
  if part > 0 then redis.call('DECRBY', key, part) end
  rest = rest - math.max(part, 0)
end
"""
"""Takes from the running window, then from the former one, where the count may stand by now."""


class _Command(NamedTuple):
    script: Any
    keys: list[str]
    arguments: list[Any]


class SharedCounters:
    """Sliding windows and slots in Redis, behind a time-out and a breaker.

    Args:
        url: such as `redis://:password@host:6379/0`.
        now: the clock of the breaker, in seconds.

    Attributes:
        failures: how often Redis failed.
    """

    def __init__(self, url: str, now: Callable[[], float] = time.monotonic) -> None:
        # Every question is timed below, where a loop that is late is not mistaken for a Redis that is.
        self._redis: Redis = Redis.from_url(url, socket_timeout=None, socket_connect_timeout=None)
        storage = RedisStorage(
            f"async+{url}",
            implementation="redispy",
            connection_pool=self._redis.connection_pool,  # type: ignore[arg-type]
        )
        bridge = storage.bridge
        assert isinstance(bridge, RedispyBridge)
        self._acquire = bridge.lua_acquire_sliding_window
        self._look = bridge.lua_sliding_window
        self._take_slot = self._redis.register_script(_TAKE_SLOT)
        self._renew_slot = self._redis.register_script(_RENEW_SLOT)
        self._give_slot = self._redis.register_script(_GIVE_SLOT)
        self._give_back = self._redis.register_script(_GIVE_BACK)
        self._now = now
        self._in_a_row = 0
        self._closed_until = 0.0
        self._waiting: list[tuple[Sequence[_Command], asyncio.Future[list[Any]]]] = []
        self._sender: asyncio.Task[None] | None = None
        self._slots: dict[str, str] = {}
        self._giving: set[asyncio.Task[None]] = set()
        self._renewal: asyncio.Task[None] | None = None
        self.failures = 0

    @property
    def available(self) -> bool:
        """Whether requests go to Redis at the moment."""
        return self._now() >= self._closed_until

    async def start(self) -> None:
        """Connect and hand over the scripts, for which requests need not wait then; begin to renew slots."""
        try:
            async with asyncio.timeout(START_TIMEOUT):
                slots = (self._take_slot, self._renew_slot, self._give_slot)
                scripts = (self._acquire, self._look, self._give_back, *slots)
                await asyncio.gather(*(self._redis.script_load(script.script) for script in scripts))
        except (RedisError, OSError, TimeoutError) as failure:
            self._fail(failure)
        self._renewal = asyncio.create_task(self._renew(), name="limits-slots")

    async def close(self) -> None:
        """Give the slots back and close the connection."""
        await stop(self._renewal)
        for slot in list(self._slots):
            await self.give_slot(slot)
        await asyncio.gather(*self._giving)
        await self._redis.aclose()

    async def take(self, demands: Sequence[Demand]) -> list[tuple[bool, Window]]:
        """Count each thing that a call asks if it fits.

        Returns:
            For each whether it was counted, and the window after that.

        Raises:
            SharedUnavailableError: Redis does not answer.
        """
        commands = []
        for demand in demands:
            keys = _window_keys(demand.name)
            # An amount of 0 changes nothing, so that what is only looked at takes the same way.
            commands.append(_Command(self._acquire, keys, [demand.limit, SECONDS, demand.amount]))
            commands.append(_Command(self._look, keys, [SECONDS]))
        answers = await self._ask(commands)
        windows = [_window(*answer) for answer in answers[1::2]]
        return [
            (bool(taken) if demand.amount else window.fits(demand), window)
            for demand, taken, window in zip(demands, answers[::2], windows, strict=True)
        ]

    async def add(self, name: str, amount: int) -> None:
        """Count an amount whether it fits or not; a negative one gives back.

        Raises:
            SharedUnavailableError: Redis does not answer.
        """
        keys = _window_keys(name)
        if amount >= 0:
            await self._ask([_Command(self._acquire, keys, [sys.maxsize, SECONDS, amount])])
        else:  # the look moves the windows on
            look = _Command(self._look, keys, [SECONDS])
            await self._ask([look, _Command(self._give_back, keys, [-amount])])

    async def take_slot(self, name: str, limit: int) -> str | None:
        """Take one of so many slots.

        Returns:
            What `give_slot` wants back; None when all are taken.

        Raises:
            SharedUnavailableError: Redis does not answer.
        """
        slot = secrets.token_hex(8)
        key = f"{PREFIX}/{name}"
        now = time.time()
        arguments = [int(now * 1000), limit, int((now + SLOT_LEASE) * 1000), slot]
        self._slots[slot] = key
        try:
            (taken,) = await self._ask([_Command(self._take_slot, [key], arguments)])
        except asyncio.CancelledError:  # the caller left, and the slot may be taken
            keep(self.give_slot(slot), self._giving)
            raise
        except SharedUnavailableError:
            del self._slots[slot]
            raise
        if not taken:
            del self._slots[slot]
            return None
        return slot

    async def give_slot(self, slot: str) -> None:
        """Give a slot back. Without an answer of Redis it comes free when its lease ends."""
        key = self._slots.pop(slot, None)
        if key is not None:
            with contextlib.suppress(SharedUnavailableError):
                await self._ask([_Command(self._give_slot, [key], [slot])])

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(SLOT_LEASE / 3)
            until = int((time.time() + SLOT_LEASE) * 1000)
            held = self._slots.items()
            commands = [_Command(self._renew_slot, [key], [until, slot]) for slot, key in held]
            if commands:
                with contextlib.suppress(SharedUnavailableError):
                    await self._ask(commands)

    async def _ask(self, commands: Sequence[_Command]) -> list[Any]:
        if not self.available:
            raise SharedUnavailableError
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Any]] = loop.create_future()
        self._waiting.append((commands, future))
        if self._sender is None:
            self._sender = loop.create_task(self._send())
        return await future

    async def _send(self) -> None:
        """Send what waits until nothing does, one pipeline after the other."""
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                answers = await _in_time(
                    self._execute([command for commands, _ in batch for command in commands])
                )
            except (RedisError, OSError, TimeoutError) as failure:
                # Those who came meanwhile have waited as well: they go their way too.
                batch, self._waiting = batch + self._waiting, []
                self._fail(failure)
                for _, future in batch:
                    if not future.done():
                        future.set_exception(SharedUnavailableError())
                await self._disconnect()
                continue
            self._in_a_row = 0
            for commands, future in batch:
                mine, answers = answers[: len(commands)], answers[len(commands) :]
                if not future.done():
                    future.set_result(mine)
        self._sender = None

    async def _execute(self, commands: Sequence[_Command]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for command in commands:
                await command.script(command.keys, command.arguments, client=pipeline)
            return list(await pipeline.execute())

    async def _disconnect(self) -> None:
        """Let go of connections on which an answer may still come, which would be taken for that to a later
        question.
        """
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(TIMEOUT):
                await self._redis.connection_pool.disconnect()

    def _fail(self, failure: Exception) -> None:
        self.failures += 1
        self._in_a_row += 1
        if self._in_a_row >= FAILURES:
            self._closed_until = self._now() + REST
            log.warning("Redis fails; limits are counted in this process", extra={"reason": repr(failure)})


async def _in_time(work: Coroutine[Any, Any, list[Any]]) -> list[Any]:
    """Wait for an answer.

    While the gateway itself is busy, the time can be over before anybody has read an answer that came long
    ago. Were that taken for a failure, a rush of calls would pass its limits. So it is the loop's time that
    is counted, not the clock's.

    Raises:
        TimeoutError: there is none after TIMEOUT.
    """
    task = asyncio.create_task(work)
    try:
        for _ in range(TICKS):
            await asyncio.wait({task}, timeout=TIMEOUT / TICKS)
            if task.done():
                return task.result()
        raise TimeoutError
    finally:
        if not task.done():
            await stop(task)


def _window_keys(name: str) -> list[str]:
    """The former and the running window; the braces keep both on one node of a cluster."""
    return [f"{PREFIX}/{{{name}}}/-1", f"{PREFIX}/{{{name}}}"]


def _window(previous: object, previous_left: Any, current: object, current_left: Any) -> Window:
    """A window as the library's script answers it: counts, and milliseconds to live.

    The running window lives for twice its time: in the second half it is the former one.
    """
    left = current_left / 1000 - SECONDS if current_left > SECONDS * 1000 else previous_left / 1000
    faded = previous_left <= 0
    return Window(0 if faded else int(previous or 0), int(current or 0), left if left > 0 else SECONDS)  # type: ignore[call-overload]
