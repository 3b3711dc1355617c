"""What callers use: begin a call, settle it."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

from gateway.budgets import Calendar, Learned, Refusal, Sample
from gateway.errors import RateLimited
from gateway.keys import Key
from gateway.ledger.book import DELETED_AT_ONCE, Book, delete_older, is_booked
from gateway.ledger.entry import Entry, Outcome, Settlement, Start, daily
from gateway.ledger.instances import RENEW_AFTER, Instance
from gateway.ledger.tally import Tally
from gateway.prices import Cost, PriceTable
from gateway.store import Store
from gateway.tasks import stop
from gateway.usage import Usage

log = logging.getLogger(__name__)

LONGEST_WAIT = 30.0
"""Seconds that a call waits while calls under way hold the rest of its budget."""

LOOK_AGAIN_AFTER = 0.25
"""Seconds after which a waiting call looks whether another replica has set something free."""

LONGEST_MODEL = 128
"""Characters kept of a model's name, which a caller may choose freely."""


_TOKENS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
)


class _Line:
    """Those who wait for some of a key's budget to come free, first come, first served."""

    __slots__ = ("freed", "head", "length")

    def __init__(self) -> None:
        self.head = asyncio.Lock()
        self.freed = asyncio.Event()
        self.length = 0


class Ledger:
    """Books every call.

    Args:
        store: the database.
        prices: what calls cost.
        zone: in which a budget's day and month begin.
        now: the clock, in seconds since 1970.
    """

    def __init__(
        self, store: Store, prices: PriceTable, zone: ZoneInfo, now: Callable[[], float] = time.time
    ) -> None:
        self.calendar = Calendar(zone)
        self._store = store
        self._prices = prices
        self._now = now
        self._utc = Calendar(ZoneInfo("UTC"))
        self._learned = Learned()
        self._lines: dict[str, _Line] = {}
        self._instance = Instance(store)
        self._book = Book(store.statements, self.calendar, self._instance)
        self._last_tick = 0
        self._pulse: asyncio.Task[None] | None = None
        store.write_now(self._book.recover)
        store.write_now(self._book.put_back, now())

    @property
    def instance_id(self) -> int:
        """The number of this process in the table of processes; never used twice."""
        return self._instance.id

    async def start(self) -> None:
        """Begin to give signs of life and to close the calls of processes that died."""
        self._pulse = asyncio.create_task(self._beat(), name="ledger-pulse")

    async def close(self) -> None:
        """Write what is posted and take leave. All calls must be settled."""
        await stop(self._pulse)
        await self._store.flush()
        await self._instance.close()

    async def begin(
        self,
        key: Key,
        request_id: str,
        operation: str,
        model: str,
        *,
        input_tokens: int = 0,
        max_tokens: int = 0,
        fast: bool = False,
    ) -> Entry:
        """Write a call down and reserve what it may cost. Returns once both are committed.

        Args:
            key: who calls.
            request_id: our own id of the request.
            operation: the operationId.
            model: the model asked for; empty for a call without one.
            input_tokens: estimate of the prompt.
            max_tokens: the longest answer asked for.
            fast: `speed: fast` is asked for.

        Raises:
            BudgetExhausted: a budget of the key is used up.
            RateLimited: calls under way have held the rest of the budget for LONGEST_WAIT.
            ServiceUnavailable: the database cannot be written.
        """
        now = self._now()
        day, priced_on = self.calendar.day(now), self._utc.as_date(now)
        model = model[:LONGEST_MODEL].replace("\0", "")  # which PostgreSQL's texts cannot hold
        prompt = answer = 0
        if model:
            prompt, answer = self._prices.quote(model, priced_on, input_tokens, max_tokens, fast=fast)
        number = self._next_id(now)
        entry = Entry(number, key, model, day, priced_on, input_tokens, max_tokens, prompt, answer)
        row = (
            number, request_id, key.id, self._instance.id, operation, model, day, int(now * 1000),
            "started", input_tokens, prompt, True,
        )  # fmt: skip
        start = Start(number, key.id, key.budget, day, 0, row)
        if key.id in self._lines:
            await self._queue(entry, start)
            return entry
        refusal = await self._try(entry, start)
        if refusal is not None:
            if refusal.final:
                raise refusal.error()
            await self._queue(entry, start)
        return entry

    def settle(
        self,
        entry: Entry,
        usage: Usage,
        *,
        outcome: Outcome = "done",
        http_status: int | None = None,
        upstream_request_id: str | None = None,
    ) -> Cost:
        """Close a call. Waits for nothing: the row is written with the next commit. Twice is no error.

        Args:
            entry: what `begin` returned.
            usage: what the call used, `Usage.none` when Anthropic refused it.
            outcome: how it ended.
            http_status: what the caller got.
            upstream_request_id: Anthropic's id of the request.

        Returns:
            What it costs.
        """
        cost = self._prices.cost(usage, entry.priced_on)
        if entry.settled:
            return cost
        entry.settled = True
        estimated = usage.estimated or not cost.known
        if entry.reserved and outcome == "done" and usage.samplings and not estimated:
            self._learn(entry, cost)
        total = usage.total
        row = (
            outcome, total.input_tokens, cost.nanodollars, estimated,
            total.output_tokens, total.cache_read_tokens,
            total.cache_write_5m_tokens, total.cache_write_1h_tokens,
            usage.web_search_requests, usage.web_fetch_requests, usage.code_execution_requests,
            cost.known, usage.service_tier, usage.inference_geo, usage.speed,
            http_status, upstream_request_id, int(self._now() * 1000), entry.id,
        )  # fmt: skip
        key_id = entry.key.id
        sums = daily(entry.day, key_id, entry.model, total, cost.nanodollars, estimated=int(estimated))
        settlement = Settlement(entry.id, key_id, entry.day, entry.reserved, cost.nanodollars, row, sums)
        self._store.post(self._book.write, settlement, self._announcement(key_id))
        if cost.nanodollars > entry.reserved and not entry.key.budget.unlimited:
            self._store.hurry()  # the next call must know that less is left than was held
        return cost

    def tally(self) -> Tally:
        """An empty tally for a batch whose results are read now."""
        now = self._now()
        return Tally(self._prices, self._utc.as_date(now), self.calendar.day(now))

    async def book_batch(self, key_id: str, batch_id: str, tally: Tally) -> bool:
        """Book a batch whose results exist: one row for each model, all or nothing, once.

        Args:
            key_id: who made it.
            batch_id: Anthropic's id.
            tally: its results, which say `service_tier: batch`.

        Returns:
            Whether it was booked now; False when it had been already.
        """
        now = self._now()
        rows: list[dict[str, Any]] = []
        sums: list[tuple[Any, ...]] = []
        for name, line in sorted(tally.lines.items()):
            model = name[:LONGEST_MODEL]
            counts = {"requests": line.requests, "estimated": line.estimated}
            sums.append(daily(tally.day, key_id, model, line.total, line.cost, **counts))
            rows.append(
                {
                    "id": self._next_id(now),
                    "request_id": batch_id,
                    "key_id": key_id,
                    "instance_id": self._instance.id,
                    "operation": "batch",
                    "model": model,
                    "day": tally.day,
                    "started_at": int(now * 1000),
                    "ended_at": int(now * 1000),
                    "reserved": 0,
                    "status": "done",
                    "service_tier": "batch",
                    "requests": line.requests,
                    "cost": line.cost,
                    "estimated": line.estimated > 0,
                    "priced": line.priced,
                    **{column: getattr(line.total, column) for column in _TOKENS},
                    **line.tools,
                }
            )
        return await self._store.write(self._book.write_batch, batch_id, rows, sums)

    async def is_booked(self, batch_id: str) -> bool:
        """Whether a batch is in the ledger already."""
        return await self._store.read(is_booked, batch_id)

    async def check_budget(self, key: Key) -> None:
        """Refuse a key that has nothing left of a budget; reserve nothing.

        Raises:
            BudgetExhausted: a budget of the key is used up.
            ServiceUnavailable: the database cannot be written.
        """
        if key.budget.unlimited:
            return
        day = self.calendar.day(self._now())
        refusal = await self._store.write(self._book.look, key.id, key.budget, day)
        if refusal is not None:
            raise refusal.error()

    async def prune(self, before: float) -> int:
        """Delete settled rows by age, a few at a time; the sums by day stay.

        Args:
            before: seconds since 1970.

        Returns:
            How many rows.
        """
        deleted = 0
        while True:
            step = await self._store.write(delete_older, int(before * 1e9))
            deleted += step
            if step < DELETED_AT_ONCE:
                return deleted

    async def sweep(self) -> int:
        """Close the calls of processes that died; returns how many."""
        return await self._store.write(self._book.recover)

    def _next_id(self, now: float) -> int:
        """A number that grows with time: nanoseconds, in whose last ten bits processes differ."""
        self._last_tick = tick = max(int(now * 1e9) >> 10, self._last_tick + 1)
        return tick << 10 | (self._instance.id & 1023)

    async def _try(self, entry: Entry, start: Start) -> Refusal | None:
        if not entry.key.budget.unlimited:
            entry.reserved = start.reserved = self._learned.reservation(
                entry.key.id, entry.model, entry.max_tokens, entry.prompt_quote, entry.answer_quote
            )
        written = self._store.batch(self._book.write, start)
        try:
            refusal: Refusal | None = await written
        except BaseException:
            # The caller left, or the database failed, with the row on its way: it must not stay open.
            self.settle(entry, Usage.none(entry.model), outcome="canceled")
            raise
        return refusal

    async def _queue(self, entry: Entry, start: Start) -> None:
        """Wait in the key's line until the reservation fits."""
        line = self._lines.setdefault(entry.key.id, _Line())
        line.length += 1
        try:
            async with asyncio.timeout(LONGEST_WAIT):
                await self._wait(line, entry, start)
        except TimeoutError:
            raise RateLimited(
                "calls under way hold the rest of this key's budget; try again",
                retry_after=5,
                reason="budget",
            ) from None
        finally:
            line.length -= 1
            if not line.length:
                del self._lines[entry.key.id]

    async def _wait(self, line: _Line, entry: Entry, start: Start) -> None:
        async with line.head:
            while True:
                line.freed.clear()
                self._store.hurry()  # calls that are over may have set free what is wanted
                refusal = await self._try(entry, start)
                if refusal is None:
                    return
                if refusal.final:
                    raise refusal.error()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_AGAIN_AFTER):
                        await line.freed.wait()

    def _announcement(self, key_id: str) -> "asyncio.Future[Any] | None":
        """A future that wakes the head of the key's line once a settlement is committed."""
        line = self._lines.get(key_id)
        if line is None:
            return None
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def wake(done: "asyncio.Future[Any]") -> None:
            line.freed.set()
            if (failure := done.exception()) is not None:
                log.error("A call cannot be settled", exc_info=failure)

        future.add_done_callback(wake)
        return future

    def _learn(self, entry: Entry, cost: Cost) -> None:
        ratio = cost.prompt / entry.prompt_quote if entry.prompt_quote else 1.0
        sample = Sample(ratio, cost.nanodollars - cost.prompt)
        self._learned.add(entry.key.id, entry.model, entry.max_tokens, sample)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(RENEW_AFTER)
            try:
                await self._instance.renew()
                await self.sweep()
            except Exception:
                log.exception("No sign of life could be given")
