"""Batches that have ended: what Anthropic said of them then, and their results, kept as long as is set.

Anthropic forgets results after 29 days. Who follows open batches (`gateway.batch_costs`) hands each over here
once; from then on it is in the database, and what is to be told of it in the outbox, by one commit.
"""

import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

import jiter
from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from gateway.content import Content, Writer
from gateway.errors import ServiceUnavailable
from gateway.store import Session, Store
from gateway.store.tables import ended_batches
from gateway.webhooks import Webhooks

log = logging.getLogger(__name__)

KIND = "batch_results"
DAY = 86_400.0

FOLLOWED = 31 * DAY
"""Seconds for which a batch has to be known as ended, or it would be taken for an open one."""

TOLD = ("id", "processing_status", "request_counts", "created_at", "ended_at", "expires_at")
"""What a webhook tells of a batch: nothing of what was asked or answered."""


class EndedBatch(NamedTuple):
    """A batch that has ended.

    Attributes:
        batch: Anthropic's bytes, as they were then; None where it was gone already.
        content_id: its results; None where none are kept.
    """

    batch: bytes | None
    content_id: str | None


class EndedBatches:
    """The register of ended batches.

    Args:
        store: the database.
        content: where results are kept.
        days: for which they are kept; 0 for not at all.
        webhooks: who is told.
        key_name: the name of a key by its id.
        now: the clock, in seconds since 1970.

    Attributes:
        failures: how often results could not be written.
    """

    def __init__(
        self,
        store: Store,
        content: Content,
        days: int,
        webhooks: Webhooks,
        key_name: Callable[[str], str],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._content = content
        self._lifetime = days * DAY
        self._webhooks = webhooks
        self._key_name = key_name
        self._now = now
        dialect = sqlite if store.embedded else postgresql
        insert = dialect.insert(ended_batches).on_conflict_do_nothing()
        self._insert = insert.returning(ended_batches.c.batch_id)
        self.failures = 0

    @property
    def wanted(self) -> bool:
        """Whether anything is to be done when a batch ends, but to book it."""
        return self._lifetime > 0 or self._webhooks.enabled

    def keeping(self, key_id: str, *, wanted: bool = True) -> "Keeping":
        """Takes results in while they are read; `wanted` is False for a batch that is to be deleted."""
        keep = wanted and self._lifetime > 0
        writer = self._content.writer(key_id, KIND, lifetime=self._lifetime) if keep else None
        return Keeping(writer, self._count_failure)

    def _count_failure(self) -> None:
        self.failures += 1

    async def enter(self, key_id: str, batch_id: str, batch: bytes | None, content_id: str | None) -> None:
        """Enter a batch, and put what is to be told of it into the outbox. Twice is no error.

        Raises:
            ServiceUnavailable: the database cannot be written.
        """
        now = self._now()
        row = {
            "batch_id": batch_id,
            "key_id": key_id,
            "batch": batch,
            "content_id": content_id,
            "ended_at": int(now * 1000),
            "expires_at": int((now + max(self._lifetime, FOLLOWED)) * 1000),
        }
        told = None if batch is None else {**_told(batch), "key": self._key_name(key_id)}
        if await self._store.write(self._enter, row, told):
            if told is not None:
                self._webhooks.wake()
        elif content_id is not None:  # another replica was faster
            await self._content.delete(content_id)

    def _enter(self, session: Session, row: dict[str, Any], told: dict[str, Any] | None) -> bool:
        if session.connection.execute(self._insert, row).first() is None:
            entered = _find(session.connection, row["batch_id"])
            return session.retried and entered is not None and entered.content_id == row["content_id"]
        if told is not None:
            self._webhooks.add(session, "batch.ended", told)
        return True

    async def find(self, batch_id: str) -> EndedBatch | None:
        """What is known of an ended batch."""
        return await self._store.read(_find, batch_id)

    async def forget(self, batch_id: str) -> None:
        """Delete what is kept of a batch; none is no error.

        Raises:
            ServiceUnavailable: the database cannot be written.
        """
        found = await self.find(batch_id)
        if found is None:
            return
        if found.content_id is not None:
            await self._content.delete(found.content_id)
        await self._store.write(_delete, batch_id)

    async def expire(self) -> int:
        """Strike out batches that are past their end, as their results are; returns how many."""
        return await self._store.write(_expire, int(self._now() * 1000))


class Keeping:
    """Keeps results while they pass by. A full disk does not end the reading, which tells what they cost.

    Args:
        writer: takes them in; None where nothing is kept.
        failed: told when it cannot.
    """

    def __init__(self, writer: Writer | None, failed: Callable[[], None]) -> None:
        self._writer = writer
        self._failed = failed
        self._fault: ServiceUnavailable | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            await self._writer.__aexit__(kind, error, trace)

    async def write(self, chunk: bytes) -> None:
        """Take some of them in."""
        if self._writer is not None and self._fault is None:
            try:
                await self._writer.write(chunk)
            except ServiceUnavailable as fault:
                self._fault = fault
                self._failed()

    async def commit(self) -> str | None:
        """They are whole: keep them. Returns the id of the content, None where nothing is kept.

        Raises:
            ServiceUnavailable: they could not be written.
        """
        if self._fault is not None:
            raise self._fault
        return None if self._writer is None else (await self._writer.commit()).id


def _told(batch: bytes) -> dict[str, Any]:
    value = jiter.from_json(batch)
    return {name: value.get(name) for name in TOLD}


def _find(connection: Connection, batch_id: str) -> EndedBatch | None:
    columns = (ended_batches.c.batch, ended_batches.c.content_id)
    row = connection.execute(select(*columns).where(ended_batches.c.batch_id == batch_id)).first()
    return None if row is None else EndedBatch(row.batch and bytes(row.batch), row.content_id)


def _delete(session: Session, batch_id: str) -> None:
    session.connection.execute(delete(ended_batches).where(ended_batches.c.batch_id == batch_id))


def _expire(session: Session, now: int) -> int:
    return session.connection.execute(delete(ended_batches).where(ended_batches.c.expires_at <= now)).rowcount
