"""What callers use: let a call in, let it out."""

import asyncio
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, get_args

from gateway.errors import RateLimited
from gateway.keys import Key
from gateway.limits.errors import QueueFullError, SharedUnavailableError
from gateway.limits.gate import Gate
from gateway.limits.local import LocalCounters
from gateway.limits.window import Demand, Window
from gateway.tasks import keep
from gateway.usage import Usage

if TYPE_CHECKING:
    from gateway.limits.shared import SharedCounters  # needs the client of Redis, which most do without

Kind = Literal["requests", "input-tokens", "output-tokens"]

LONGEST_QUEUE = 64
"""Calls of one key that may wait for a place."""

LONGEST_WAIT = 30.0
"""Seconds that a call waits for a place."""

LOOK_AGAIN_AFTER = 0.05
"""Seconds between looks for a place when other replicas hold them all."""

SMOOTHING = 0.2
"""Weight of the latest call in what is known about a key's prompts."""

RATE_LIMIT_HEADERS = tuple(
    f"anthropic-ratelimit-{kind}-{name}"
    for kind in get_args(Kind)
    for name in ("limit", "remaining", "reset")
)
"""The headers that `Quota.headers` makes."""

_WORDS = {"requests": "requests", "input-tokens": "input tokens", "output-tokens": "output tokens"}
_REASONS = {"requests": "rpm", "input-tokens": "itpm", "output-tokens": "otpm"}


@dataclass(frozen=True, slots=True)
class Quota:
    """One limit as its headers tell it.

    Attributes:
        kind: in Anthropic's words.
        limit: what is allowed a minute.
        remaining: what of it is left.
        resets_at: when it is whole again, in seconds since 1970.
    """

    kind: Kind
    limit: int
    remaining: int
    resets_at: float

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Anthropic's three headers (https://docs.anthropic.com/en/api/rate-limits#response-headers)."""
        reset = datetime.fromtimestamp(math.ceil(self.resets_at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        values = (("limit", self.limit), ("remaining", self.remaining), ("reset", reset))
        return [
            (f"anthropic-ratelimit-{self.kind}-{name}".encode(), str(value).encode())
            for name, value in values
        ]


@dataclass(slots=True)
class Admission:
    """One call on its way through the limits: made before `Limiter.admit`, given to `Limiter.release` when
    the call is over, whatever became of it.

    Attributes:
        key: who calls.
        input_tokens: estimate of the prompt, once it is known.
        estimate: what of it the limit has counted.
        counted: the limits by the minute that were asked, as they stood then.
        waited: seconds that the call stood in line for its place; None when it needed none.
    """

    key: Key
    input_tokens: int = 0
    estimate: int = 0
    counted: list[tuple[Kind, Demand, Window]] = field(default_factory=list)
    gate: Gate | None = None
    slot: str | None = None
    waited: float | None = None
    alone: bool = False
    released: bool = False

    @property
    def quotas(self) -> list[Quota]:
        """The key's limits by the minute as they stood when the call was let in."""
        now = time.time()
        return [
            Quota(kind, demand.limit, window.remaining(demand.limit), now + window.reset_after())
            for kind, demand, window in self.counted
        ]


class Limiter:
    """Holds the limits of all keys.

    Args:
        shared: the counters that replicas share; None to count in this process alone. While Redis does not
            answer, each replica counts on its own: a key may get as many times its limits as there are
            replicas.
        now: the clock, in seconds; it must not jump.

    Attributes:
        shared: as given.
    """

    def __init__(
        self, shared: "SharedCounters | None" = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.shared = shared
        self._local = LocalCounters(now)
        self._gates: dict[str, Gate] = {}
        self._ratios: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open what needs the running loop."""
        if self.shared is not None:
            await self.shared.start()

    async def close(self) -> None:
        """Finish what is under way."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self.shared is not None:
            await self.shared.close()

    def running(self, key_id: str) -> int:
        """Calls of a key that are under way here."""
        gate = self._gates.get(key_id)
        return 0 if gate is None else gate.running

    @property
    def queued(self) -> int:
        """Calls that wait for a place here."""
        return sum(gate.queued for gate in self._gates.values())

    async def admit(self, admission: Admission) -> None:
        """Let a call in, or make it wait for a place, or refuse it. Nothing of its body need be known.

        Raises:
            RateLimited: a limit is reached; says which, and when to come again.
        """
        key = admission.key
        if key.limits.requests_per_minute is not None:
            demand = Demand(f"requests/{key.id}", key.limits.requests_per_minute, 1)
            await self._count(admission, [("requests", demand)])
        if key.limits.concurrency is not None:
            try:
                await self._enter(admission, key.limits.concurrency)
            except BaseException:  # refused, or its caller left the line: it counts for nothing
                self._give_back(admission.counted)
                raise

    async def take_tokens(self, admission: Admission, input_tokens: int) -> None:
        """Count the prompt of a call that was let in, or refuse it; the request then counts for nothing.

        Args:
            admission: the call.
            input_tokens: estimate of the prompt.

        Raises:
            RateLimited: a limit is reached; says which, and when to come again.
        """
        admission.input_tokens = input_tokens
        demands = self._token_demands(admission.key, input_tokens)
        if not demands:
            return
        before = admission.counted[:]
        try:
            await self._count(admission, demands)
        except RateLimited:
            self._give_back(before)
            raise
        admission.estimate = sum(demand.amount for kind, demand in demands if kind == "input-tokens")

    def release(self, admission: Admission, usage: Usage | None = None) -> None:
        """Let a call out: free its place, count what it really used. Waits for nothing. Twice is no error.

        Args:
            admission: what `admit` was given.
            usage: what the call used; None when it used nothing.
        """
        if admission.released:
            return
        admission.released = True
        limits = admission.key.limits
        if admission.gate is not None:
            admission.gate.leave(limits.concurrency or sys.maxsize)
        if admission.slot is not None and self.shared is not None:
            keep(self.shared.give_slot(admission.slot), self._tasks)
        used = output = 0
        if usage is not None:
            total = usage.total
            # Cache reads are free (https://docs.anthropic.com/en/api/rate-limits#cache-aware-itpm).
            used = total.input_tokens + total.cache_write_5m_tokens + total.cache_write_1h_tokens
            output = total.output_tokens
        if admission.estimate:
            if usage is not None and not usage.estimated:
                self._learn(admission, used)
            self._add(f"input-tokens/{admission.key.id}", used - admission.estimate)
        if output and limits.output_tokens_per_minute is not None:
            self._add(f"output-tokens/{admission.key.id}", output)

    def _token_demands(self, key: Key, input_tokens: int) -> list[tuple[Kind, Demand]]:
        demands: list[tuple[Kind, Demand]] = []
        limit = key.limits.input_tokens_per_minute
        if limit is not None:
            expected = round(input_tokens * self._ratios.get(key.id, 1.0))
            # What is larger than the limit itself passes alone: refused for ever it would help nobody.
            demands.append(
                ("input-tokens", Demand(f"input-tokens/{key.id}", limit, max(1, min(expected, limit))))
            )
        limit = key.limits.output_tokens_per_minute
        if limit is not None:
            # Of output nothing is known beforehand: it must not be used up, and is counted afterwards.
            demands.append(("output-tokens", Demand(f"output-tokens/{key.id}", limit, 0)))
        return demands

    async def _count(self, admission: Admission, demands: list[tuple[Kind, Demand]]) -> None:
        """Count what a call asks, or refuse it and count nothing of that."""
        answers = None
        if self.shared is not None and not admission.alone:
            try:
                answers = await self.shared.take([demand for _, demand in demands])
            except SharedUnavailableError:
                admission.alone = True  # it has waited once and does not wait again
        refusing, taken = [], []
        for position, (kind, demand) in enumerate(demands):
            fits, window = self._local.take(demand) if answers is None else answers[position]
            admission.counted.append((kind, demand, window))
            if fits:
                taken.append(demand)
            else:
                refusing.append((kind, demand, window))
        if refusing:
            for demand in taken:
                self._add(demand.name, -demand.amount)
            raise _refusal(refusing)

    async def _enter(self, admission: Admission, limit: int) -> None:
        key = admission.key
        gate = self._gates.get(key.id)
        if gate is None:
            gate = self._gates[key.id] = Gate(LONGEST_QUEUE)
        arrived = time.monotonic()
        try:
            if not gate.try_enter(limit):
                await gate.enter(limit, LONGEST_WAIT)
            admission.gate = gate
            if self.shared is not None and not admission.alone:
                admission.slot = await _slot(self.shared, key, limit, arrived + LONGEST_WAIT)
        except QueueFullError:
            raise RateLimited(
                f"this key's limit of {limit} calls at a time is reached, and too many wait already",
                retry_after=1,
                reason="concurrency",
            ) from None
        finally:
            admission.waited = time.monotonic() - arrived

    def _give_back(self, counted: list[tuple[Kind, Demand, Window]]) -> None:
        for _, demand, _ in counted:
            self._add(demand.name, -demand.amount)

    def _add(self, name: str, amount: int) -> None:
        if not amount:
            return
        if self.shared is None:
            self._local.add(name, amount)
        else:
            keep(self._add_shared(self.shared, name, amount), self._tasks)

    async def _add_shared(self, shared: "SharedCounters", name: str, amount: int) -> None:
        try:
            await shared.add(name, amount)
        except SharedUnavailableError:
            self._local.add(name, amount)

    def _learn(self, admission: Admission, used: int) -> None:
        """Follow what part of a key's prompts counts: long prompts that are cached must hold nobody up."""
        ratio = min(2.0, used / admission.input_tokens)
        known = self._ratios.get(admission.key.id, ratio)
        self._ratios[admission.key.id] = known + SMOOTHING * (ratio - known)


def _refusal(refusing: list[tuple[Kind, Demand, Window]]) -> RateLimited:
    """The 429 of the limit that takes longest to have room again."""
    wait, kind, demand = max((window.retry_after(demand), kind, demand) for kind, demand, window in refusing)
    return RateLimited(
        f"this key's limit of {demand.limit} {_WORDS[kind]} a minute is reached",
        retry_after=math.ceil(wait),
        reason=_REASONS[kind],
    )


async def _slot(shared: "SharedCounters", key: Key, limit: int, deadline: float) -> str | None:
    """Take one of the places that all replicas share. While Redis does not answer, the gate alone decides.

    Raises:
        QueueFullError: other replicas held them all for too long.
    """
    try:
        while (slot := await shared.take_slot(f"slots/{key.id}", limit)) is None:
            if time.monotonic() > deadline:
                raise QueueFullError
            await asyncio.sleep(LOOK_AGAIN_AFTER)
    except SharedUnavailableError:
        return None
    return slot
