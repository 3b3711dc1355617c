"""The table of asynchronous messages. Each change of state is one statement that names the state before, so
that of two processes one makes it.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from gateway.async_messages.record import UNFINISHED, AsyncMessage, Status
from gateway.errors import RateLimited
from gateway.headers import from_json, to_json
from gateway.store import Session, Store
from gateway.store.tables import async_messages, calls, instances

DELETED_AT_ONCE = 500

LEDGER_DELAY = 120_000_000_000
"""Nanoseconds after its start in which a run is in the ledger: longer than it may wait for its budget."""


class Table:
    """Reads and writes the table.

    Args:
        store: the database.
        instance_id: this process in the table of processes.
        now: the clock, in seconds since 1970.
    """

    def __init__(self, store: Store, instance_id: int, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._instance_id = instance_id
        self._now = now

    async def insert(self, message: AsyncMessage, longest_queue: int) -> None:
        """Write a queued message down; it is accepted once this returns.

        Raises:
            RateLimited: as many of the key's wait already.
            ServiceUnavailable: the database cannot be written.
        """
        if not await self._store.write(_insert, message, longest_queue):
            raise RateLimited(
                f"{longest_queue} asynchronous messages of this key wait already",
                retry_after=10,
                reason="concurrency",
            )

    async def find(self, message_id: str) -> AsyncMessage | None:
        """A message, as it is committed."""
        return await self._store.read(_find, message_id)

    async def start(self, message_id: str) -> bool:
        """Take a queued message for a run; whether it was still this process's to run."""
        values = {"status": "running", "started_at": self._milliseconds()}
        return await self._store.write(_move, message_id, self._mine(message_id, "queued"), values)

    def requeue(self, message_id: str) -> None:
        """Put a message back that has not gone up. Waits for nothing."""
        self._store.post(_requeue, self._mine(message_id, "running"))

    def finish(self, message_id: str, values: dict[str, Any]) -> None:
        """Write down how a run ended. Waits for nothing, and is not lost while the database is away.

        A message that was canceled meanwhile stays so; only what it cost is added.
        """
        # Also when it was taken for interrupted: a process that lives knows better.
        mine = async_messages.c.instance_id == self._instance_id
        running = mine & async_messages.c.status.in_(("running", "interrupted"))
        this = async_messages.c.id == message_id
        self._store.post(_finish, (this & running, this & (async_messages.c.status == "canceled"), values))

    async def cancel(self, message_id: str) -> bool:
        """Cancel a message that has not ended; whether that was so."""
        values = {"status": "canceled", "ended_at": self._milliseconds()}
        unfinished = (async_messages.c.id == message_id) & async_messages.c.status.in_(UNFINISHED)
        return await self._store.write(_move, message_id, unfinished, values)

    async def delete(self, message_id: str) -> None:
        """Delete a message."""
        await self._store.write(_delete, async_messages.c.id == message_id)

    async def forget(self, key_id: str) -> list[str]:
        """Delete a key's messages that have ended; returns the contents that were kept of them."""
        return await self._store.write(_forget, key_id)

    async def canceled_of(self, running: Collection[str]) -> list[str]:
        """Which of these were canceled by another process."""
        return await self._store.read(_canceled, list(running))

    async def take_over(self) -> list[AsyncMessage]:
        """Close what processes that died were running; take on what they had not begun. Returns both."""
        return await self._store.write(_take_over, self._instance_id, self._milliseconds())

    async def expire(self) -> int:
        """Delete what is past its end; returns how many."""
        ended = (async_messages.c.expires_at <= self._milliseconds()) & async_messages.c.status.not_in(
            UNFINISHED
        )
        deleted = 0
        while True:
            step = await self._store.write(
                _delete,
                async_messages.c.id.in_(select(async_messages.c.id).where(ended).limit(DELETED_AT_ONCE)),
            )
            deleted += step
            if step < DELETED_AT_ONCE:
                return deleted

    def _mine(self, message_id: str, status: Status) -> ColumnElement[bool]:
        return (
            (async_messages.c.id == message_id)
            & (async_messages.c.instance_id == self._instance_id)
            & (async_messages.c.status == status)
        )

    def _milliseconds(self) -> int:
        return int(self._now() * 1000)


def _insert(session: Session, message: AsyncMessage, longest_queue: int) -> bool:
    if session.retried and _find(session.connection, message.id) is not None:
        return True
    waiting = select(func.count()).where(
        async_messages.c.key_id == message.key_id, async_messages.c.status == "queued"
    )
    if session.connection.execute(waiting).scalar_one() >= longest_queue:
        return False
    row = {name: getattr(message, name) for name in AsyncMessage.__slots__}
    row["headers"] = to_json(message.headers)
    session.connection.execute(async_messages.insert().values(row))
    return True


def _find(connection: Connection, message_id: str) -> AsyncMessage | None:
    row = connection.execute(select(async_messages).where(async_messages.c.id == message_id)).first()
    return None if row is None else _message(row)


def _message(row: Any) -> AsyncMessage:
    values = dict(row._mapping)
    values["headers"] = from_json(values["headers"])
    return AsyncMessage(**values)


def _change(session: Session, where: ColumnElement[bool], values: dict[str, Any]) -> bool:
    return session.connection.execute(async_messages.update().where(where).values(values)).rowcount == 1


def _move(session: Session, message_id: str, where: ColumnElement[bool], values: dict[str, Any]) -> bool:
    """The same for who goes by the answer: a former attempt may have been committed after all."""
    if _change(session, where, values):
        return True
    made = [async_messages.c[name] == value for name, value in values.items()]
    moved = select(async_messages.c.id).where(async_messages.c.id == message_id, *made)
    return session.retried and session.connection.execute(moved).first() is not None


def _requeue(session: Session, items: list[ColumnElement[bool]]) -> list[None]:
    for where in items:
        _change(session, where, {"status": "queued", "started_at": None})
    return [None] * len(items)


def _finish(
    session: Session, items: list[tuple[ColumnElement[bool], ColumnElement[bool], dict[str, Any]]]
) -> list[None]:
    for running, canceled, values in items:
        if not _change(session, running, values):
            _change(session, canceled, {"cost": values["cost"], "estimated": values["estimated"]})
    return [None] * len(items)


def _delete(session: Session, where: ColumnElement[bool]) -> int:
    return session.connection.execute(async_messages.delete().where(where)).rowcount


def _forget(session: Session, key_id: str) -> list[str]:
    ended = (async_messages.c.key_id == key_id) & async_messages.c.status.not_in(UNFINISHED)
    columns = (async_messages.c.request_content, async_messages.c.answer_content)
    found = session.connection.execute(async_messages.delete().where(ended).returning(*columns)).all()
    return [content_id for row in found for content_id in row if content_id is not None]


def _canceled(connection: Connection, ids: list[str]) -> list[str]:
    found = select(async_messages.c.id).where(
        async_messages.c.id.in_(ids), async_messages.c.status == "canceled"
    )
    return list(connection.execute(found).scalars())


def _take_over(session: Session, instance_id: int, now: int) -> list[AsyncMessage]:
    connection = session.connection
    orphaned = async_messages.c.status.in_(UNFINISHED) & async_messages.c.instance_id.not_in(
        select(instances.c.id)
    )
    taken: list[AsyncMessage] = []
    if session.retried:  # a former attempt may have taken some: to stand in line twice does no harm
        own = (async_messages.c.status == "queued") & (async_messages.c.instance_id == instance_id)
        taken += map(_message, connection.execute(select(async_messages).where(own)))
    for row in connection.execute(
        select(async_messages).where(orphaned).order_by(async_messages.c.created_at)
    ):
        message = _message(row)
        unchanged = (
            (async_messages.c.id == message.id)
            & (async_messages.c.instance_id == message.instance_id)
            & (async_messages.c.status == message.status)
        )
        if message.status == "running":
            cost, estimated = _known_cost(connection, message)
            values = {"status": "interrupted", "ended_at": now, "cost": cost, "estimated": estimated}
            if _change(session, unchanged, values):
                taken.append(replace(message, status="interrupted"))
        elif _change(session, unchanged, {"instance_id": instance_id}):
            taken.append(message)
    return taken


def _known_cost(connection: Connection, message: AsyncMessage) -> tuple[int, bool]:
    """What the ledger says of a run that was cut off: nothing, where it never went up.

    Rows are numbered by their time in nanoseconds, so a few of them are looked through.
    """
    since = (message.started_at or message.created_at) * 1_000_000
    row = connection.execute(
        select(calls.c.cost, calls.c.estimated).where(
            calls.c.id >= since - 1_000_000_000,
            calls.c.id < since + LEDGER_DELAY,
            calls.c.request_id == message.id,
        )
    ).first()
    return (0, False) if row is None else (row.cost, row.estimated)
