"""Tell the operator's webhook what has happened: signed, at least once, over restarts.

The form is that of Standard Webhooks (https://www.standardwebhooks.com). A message is a row that is written
in the transaction of what it tells of, and deleted when it has arrived.
"""

import asyncio
import base64
import contextlib
import json
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import SecretStr
from sqlalchemy import Connection, delete, func, select, update

from gateway import rfc3339
from gateway.store import Session, Store
from gateway.store.tables import webhook_messages as table
from gateway.tasks import stop

if TYPE_CHECKING:
    from gateway.webhook_sender import Sender

log = logging.getLogger(__name__)

SECRET_PREFIX = "whsec_"  # noqa: S105 - what a secret begins with
PAUSES = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Seconds after each failed attempt; after the last, three days in, the message is given up."""

LEASE = 60.0
"""Seconds for which a process has an attempt to itself; after it another may try, also when this one died."""

AT_ONCE = 10
IDLE = 30.0
"""Seconds between looks at the outbox, which other processes fill as well."""

FORGET = 7 * 86_400.0
"""Seconds after which no message waits any more."""

OUTCOMES = ("delivered", "failed", "given_up")
"""What comes of an attempt."""

GONE = 410
"""A receiver that answers this wants no more of it."""


class Message(NamedTuple):
    """A message that is due; `attempt` counts from 1."""

    id: str
    body: bytes
    attempt: int


class Webhooks:
    """The outbox, and the one who empties it.

    Args:
        store: the database.
        url: where messages go; None for nowhere.
        secret: signs them: `whsec_` and base64, as the settings have made sure.
        private: whether the receiver may be at an address that is not public.
        now: the clock, in seconds since 1970.

    Attributes:
        outcomes: attempts, by OUTCOMES.
    """

    def __init__(
        self,
        store: Store,
        url: SecretStr | None = None,
        secret: SecretStr | None = None,
        *,
        private: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._url = None if url is None else url.get_secret_value()
        self._key = base64.b64decode(secret.get_secret_value().removeprefix(SECRET_PREFIX) if secret else "")
        self._private = private
        self._now = now
        self._sender: Sender | None = None
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self.outcomes: Counter[str] = Counter()

    @property
    def enabled(self) -> bool:
        """Whether there is anyone to tell."""
        return self._url is not None

    async def start(self) -> None:
        """Begin to deliver what is waiting."""
        if self.enabled:
            self._task = asyncio.create_task(self._work(), name="webhooks")

    async def close(self) -> None:
        """Stop; what has not arrived waits in the database."""
        await stop(self._task)
        if self._sender is not None:
            await self._sender.close()

    def add(self, session: Session, kind: str, data: dict[str, Any]) -> None:
        """Put a message into the outbox, within the transaction of what it tells of.

        Args:
            session: of the transaction.
            kind: of the event, such as `batch.ended`.
            data: what is told of it.
        """
        if not self.enabled:
            return
        now = int(self._now() * 1000)
        event = {"type": kind, "timestamp": rfc3339.write(now), "data": data}
        body = json.dumps(event, separators=(",", ":")).encode()
        row = {"id": f"msg_{secrets.token_hex(16)}", "body": body, "attempts": 0}
        session.connection.execute(table.insert().values(**row, next_at=now, created_at=now))

    def wake(self) -> None:
        """Something was added: look at once."""
        self._woken.set()

    async def expire(self) -> int:
        """Strike out what waits for a webhook that is set no more; returns how much."""
        return await self._store.write(_expire, int((self._now() - FORGET) * 1000))

    async def deliver(self) -> int:
        """Try each message that is due once; returns how many there were.

        Raises:
            ServiceUnavailable: the database cannot be written.
        """
        due = await self._store.write(_claim, int(self._now() * 1000))
        await asyncio.gather(*map(self._attempt, due))
        return len(due)

    async def _work(self) -> None:
        while True:
            self._woken.clear()
            try:
                if await self.deliver():
                    continue
                pause = await self._store.read(_next_at)
            except Exception:
                log.exception("Webhook messages cannot be delivered")
                pause = None
            seconds = IDLE if pause is None else min(max(pause / 1000 - self._now(), 0.05), IDLE)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), seconds)

    def _open_sender(self) -> "Sender":
        from gateway.webhook_sender import Sender  # noqa: PLC0415 - aiohttp, which only this setting needs

        assert self._url is not None
        return Sender(self._url, self._key, private=self._private)

    async def _attempt(self, message: Message) -> None:
        if self._sender is None:
            self._sender = self._open_sender()
        outcome = await self._sender.send(message.id, message.body, int(self._now()))
        if outcome is None:
            self.outcomes["delivered"] += 1
            await self._store.write(_done, message.id)
            return
        told = {"webhook": message.id, "attempt": message.attempt, "reason": outcome}
        if message.attempt > len(PAUSES) or outcome == f"status {GONE}":
            self.outcomes["given_up"] += 1
            log.error("A webhook message is given up", extra=told)
            await self._store.write(_done, message.id)
            return
        self.outcomes["failed"] += 1
        log.warning("A webhook message did not arrive", extra=told)
        pause = PAUSES[message.attempt - 1] * (0.9 + 0.2 * secrets.randbelow(1000) / 1000)
        await self._store.write(_postpone, message.id, int((self._now() + pause) * 1000))


def _claim(session: Session, now: int) -> list[Message]:
    """Take what is due for this process alone, until the lease ends."""
    due = select(table.c.id).where(table.c.next_at <= now).order_by(table.c.next_at).limit(AT_ONCE)
    claimed = (
        update(table)
        .where(table.c.id.in_(due), table.c.next_at <= now)
        .values(next_at=now + int(LEASE * 1000), attempts=table.c.attempts + 1)
        .returning(table.c.id, table.c.body, table.c.attempts)
    )
    return [Message(row[0], bytes(row[1]), row[2]) for row in session.connection.execute(claimed)]


def _next_at(connection: Connection) -> int | None:
    return connection.execute(select(func.min(table.c.next_at))).scalar()


def _done(session: Session, message_id: str) -> None:
    session.connection.execute(delete(table).where(table.c.id == message_id))


def _expire(session: Session, before: int) -> int:
    return session.connection.execute(delete(table).where(table.c.created_at < before)).rowcount


def _postpone(session: Session, message_id: str, next_at: int) -> None:
    session.connection.execute(update(table).where(table.c.id == message_id).values(next_at=next_at))
