"""What batches cost: booked once each, at half price, to the key that made them, when their results exist.

That is when somebody reads the results to their end, or deletes the batch; and for those whose results nobody
reads the gateway looks at open batches by itself. Which are open stands in the database, so nothing is
forgotten over a restart.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import NamedTuple

from anthropic import APIConnectionError
from sqlalchemy import ColumnElement, Connection, select

from gateway.batches import item
from gateway.ended_batches import EndedBatches
from gateway.errors import GatewayError
from gateway.json_body import parse_answer
from gateway.ledger import Ledger, Tally
from gateway.lines import LineSplitter
from gateway.pool import Answer
from gateway.resources import Owned
from gateway.store import Store
from gateway.store.tables import booked_batches, ended_batches, owners
from gateway.tasks import stop
from gateway.upstream import connection_failure, read_whole
from gateway.usage import Usage
from gateway.walls import Walls

log = logging.getLogger(__name__)

LOOK_AFTER = 60.0
"""Seconds after which an open batch is looked at for the first time, and between rounds."""

LONGEST_PAUSE = 600.0
"""Seconds between looks at one batch; until then the pause is a tenth of its age."""

KEPT = 30 * 86_400.0
"""Seconds for which a batch is followed; Anthropic keeps results for 29 days."""


class Open(NamedTuple):
    """A batch that is not in the ledger yet; made at `since`, in seconds since 1970."""

    id: str
    key_id: str
    since: float


class BatchCosts:
    """Books batches.

    Args:
        store: the database.
        ledger: where they are booked.
        walls: who made them.
        ended: takes those that have ended.
        ask: sends a GET for a path upstream; the answer's body is not read yet.
        booked: told of a batch that was booked: the key's id, and what it cost.
        now: the clock, in seconds since 1970.

    Attributes:
        open: the batches that were open in the last round.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        walls: Walls,
        ended: EndedBatches,
        ask: Callable[[str], Awaitable[Answer]],
        booked: Callable[[str, Tally], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._walls = walls
        self._ended = ended
        self._ask = ask
        self._booked = booked
        self._now = now
        self._due: dict[str, float] = {}
        self._states: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None
        self.open: list[Open] = []

    async def start(self) -> None:
        """Begin to follow open batches."""
        self._task = asyncio.create_task(self._follow(), name="batch-costs")

    async def close(self) -> None:
        """Stop following."""
        await stop(self._task)

    async def read_along(self, batch_id: str, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Pass a batch's results on as they come, and book it when they have come to their end.

        Args:
            batch_id: Anthropic's id.
            lines: its results as JSON lines, cut anywhere.
        """
        key_id = await self._walls.owner(Owned("batches", batch_id))
        unknown = key_id is None or await self._ledger.is_booked(batch_id)
        reader = None if unknown else _Reader(self._ledger.tally())
        async with aclosing(lines) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                if reader is not None:
                    reader.feed(chunk)
                yield chunk
        if reader is not None and key_id is not None:
            try:
                await self._book(key_id, batch_id, reader.end())
            except GatewayError:  # the caller has its results; the next look books them
                log.exception("A batch cannot be booked yet", extra={"batch": batch_id})

    async def settle(self, batch_id: str) -> None:
        """Book a batch that has ended before it is deleted, for then nobody can know what it cost.

        Raises:
            GatewayError: its results cannot be read.
        """
        key_id = await self._walls.owner(Owned("batches", batch_id))
        if key_id is not None and not await self._ledger.is_booked(batch_id):
            await self._look_at(batch_id, key_id, stays=False)

    async def look(self) -> None:
        """Look at each open batch whose time has come."""
        now = self._now()
        done = ended_batches.c.batch_id if self._ended.wanted else booked_batches.c.batch_id
        self.open = await self._store.read(_open, now - KEPT, done)
        self._states = {batch.id: self.state(batch) for batch in self.open}
        self._due = {batch.id: self._due.get(batch.id, batch.since + LOOK_AFTER) for batch in self.open}
        for batch in self.open:
            if self._due[batch.id] > now:
                continue
            self._due[batch.id] = now + max(LOOK_AFTER, min((now - batch.since) / 10, LONGEST_PAUSE))
            try:
                await self._look_at(batch.id, batch.key_id)
            except GatewayError as fault:
                log.warning("A batch cannot be looked at", extra={"batch": batch.id, "reason": fault.message})

    def state(self, batch: Open) -> str:
        """How a batch stood when it was last looked at: `in_progress`, `canceling` or `ended`."""
        return self._states.get(batch.id, "in_progress")

    async def _follow(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("Open batches cannot be followed")
            await asyncio.sleep(LOOK_AFTER)

    async def _look_at(self, batch_id: str, key_id: str, *, stays: bool = True) -> None:
        path = item(batch_id)
        answer = await self._ask(path)
        body = await read_whole(answer)
        if answer.status == 404:
            if not await self._ledger.is_booked(batch_id):
                log.warning("A batch went without being booked", extra={"batch": batch_id})
            await self._book(key_id, batch_id, self._ledger.tally())
            await self._ended.enter(key_id, batch_id, None, None)
        elif answer.status == 200 and (state := _state(body)) is not None:
            self._states[batch_id] = state
            if state == "ended":
                await self._read_results(Open(batch_id, key_id, 0.0), body, stays=stays)

    async def _read_results(self, batch: Open, body: bytes, *, stays: bool) -> None:
        answer = await self._ask(f"{item(batch.id)}/results")
        reader = _Reader(self._ledger.tally())
        there = answer.status == 200
        async with self._ended.keeping(batch.key_id, wanted=stays and there) as keeping:
            try:
                if there:
                    while chunk := await answer.chunk():
                        reader.feed(chunk)
                        await keeping.write(chunk)
                elif answer.status != 404:  # which says that there are none: nothing was answered
                    return
            except APIConnectionError as error:
                raise connection_failure(error) from error
            finally:
                answer.close()
            await self._book(batch.key_id, batch.id, reader.end())
            if stays:
                await self._ended.enter(batch.key_id, batch.id, body, await keeping.commit())

    async def _book(self, key_id: str, batch_id: str, tally: Tally) -> None:
        if await self._ledger.book_batch(key_id, batch_id, tally):
            self._booked(key_id, tally)


class _Reader:
    """Adds up results from their lines."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._splitter = LineSplitter()

    def feed(self, chunk: bytes) -> None:
        """Take what comes, cut anywhere."""
        for line in self._splitter.feed(chunk):
            self._line(line)

    def end(self) -> Tally:
        """The sums of all lines."""
        self._line(self._splitter.rest)
        return self._tally

    def _line(self, line: bytes) -> None:
        if not line.strip():
            return
        parsed = parse_answer(line)
        match parsed.get("result") if isinstance(parsed, dict) else None:
            case {"type": "succeeded", "message": {"model": str(model), "usage": dict(used)} as message}:
                stop_reason = message.get("stop_reason")
                usage = Usage.read(model, used, stop_reason if isinstance(stop_reason, str) else None)
                usage.service_tier = "batch"
                self._tally.add(usage)
            case {"type": "errored" | "canceled" | "expired"}:
                return  # which Anthropic does not bill
            case _:
                log.error("A result of a batch cannot be read, and is not booked")


def _state(body: bytes) -> str | None:
    """The `processing_status` of a batch, None where the answer tells none."""
    batch = parse_answer(body)
    state = batch.get("processing_status") if isinstance(batch, dict) else None
    return state if isinstance(state, str) else None


def _open(connection: Connection, since: float, done: ColumnElement[str]) -> list[Open]:
    """The batches that keys made and that are not done with, the oldest first."""
    undone = (
        select(owners.c.resource_id, owners.c.key_id, owners.c.created_at)
        .where(
            owners.c.kind == "batches",
            owners.c.created_at > int(since * 1000),
            owners.c.resource_id.not_in(select(done)),
        )
        .order_by(owners.c.created_at)
    )
    return [Open(row[0], row[1], row[2] / 1000) for row in connection.execute(undone)]
