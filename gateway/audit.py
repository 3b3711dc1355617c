"""The audit trail: who did what, and what was refused. Each row's hash covers the row before it.

A row that is changed or taken out breaks the chain from there on, which `verify` finds. Whoever can write to
the database could compute the whole chain anew; against that the lines of LOG_DIR/audit.log, which carry the
hashes too, can be kept elsewhere.
"""

import asyncio
import hashlib
import json
import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, select

from gateway import rfc3339
from gateway.store import Session, Store
from gateway.store.tables import audit, revisions

log = logging.getLogger(__name__)

FILE_BYTES = 10 * 1024 * 1024
FILES = 5

REPEATED_AFTER = 60.0
"""Seconds in which the same refusal is counted instead of written again: a flood must not fill the disk."""

REFUSALS = 1024
"""Different refusals that are counted at a time; those of further actors are counted as one."""

OTHERS = "others"
COMMAND = "command"
"""The actor of what is done on the command line."""

_COUNTER = "audit"
_ORIGIN = bytes(32)
"""What the first row's hash covers in place of a row before."""


class Record(NamedTuple):
    """What is written down.

    Attributes:
        at: milliseconds since 1970.
        actor: the key's id, or the address of one who showed none.
        action: the operationId, or the command.
        target: the id of what it was done to.
        detail: names and numbers, never a secret, a prompt or an answer.
    """

    at: int
    actor: str
    action: str
    target: str
    detail: str


class Verdict(NamedTuple):
    """What `verify` found.

    Attributes:
        rows: how many rows were checked.
        broken_at: the sequence number of the first row that is wrong or missing; None when all is well.
    """

    rows: int
    broken_at: int | None


class Audit:
    """Writes the trail.

    Args:
        store: the database.
        folder: LOG_DIR, where the trail is written to a rotated file as well; None for the database alone.
        now: the clock, in seconds since 1970.

    Attributes:
        written: rows that are in the database.
        failures: rows that could not be written, there or to the file.
    """

    def __init__(
        self, store: Store, folder: Path | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._now = now
        self._refusals: OrderedDict[tuple[str, str, str], tuple[float, int]] = OrderedDict()
        self._writing: set[asyncio.Future[tuple[int, bytes]]] = set()
        self._file: _File | None = None
        self.written = self.failures = 0
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = _File(
                folder / "audit.log", maxBytes=FILE_BYTES, backupCount=FILES, encoding="utf-8", delay=True
            )
            self._file.setFormatter(logging.Formatter("%(message)s"))

    def record(
        self, actor: str, action: str, target: str = "", detail: Mapping[str, Any] | None = None
    ) -> None:
        """Write down what was done; waits for nothing.

        Args:
            actor: the key's id.
            action: the operationId, or the command.
            target: the id of what it was done to.
            detail: names and numbers, never a secret, a prompt or an answer.
        """
        text = json.dumps(detail or {}, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        self._post(Record(int(self._now() * 1000), actor, action, target, text))

    def refuse(self, actor: str, action: str, reason: str) -> None:
        """Write down a refusal; the same one within a minute is counted and written once more with its count.

        Args:
            actor: the key's id, or the address of one who showed none.
            action: the operationId.
            reason: as the metric of refusals names it, such as `permission`.
        """
        now = self._now()
        self._write_counted(now)
        name = (actor, action, reason)
        if name not in self._refusals and len(self._refusals) >= REFUSALS:
            name = (OTHERS, action, reason)
        since, count = self._refusals.get(name, (now, 0))
        self._refusals[name] = (since, count + 1)
        if count == 0:
            self.record(name[0], action, detail={"refused": reason})

    async def close(self) -> None:
        """Write what was only counted so far."""
        self._write_counted(float("inf"))
        await self._store.flush()
        if self._writing:
            await asyncio.wait(self._writing)
        if self._file is not None:
            self._file.close()

    async def prune(self, before: float) -> int:
        """Delete old rows; the last of them stays, as the one that the chain hangs on.

        Args:
            before: seconds since 1970.

        Returns:
            How many rows.
        """
        return await self._store.write(_prune, int(before * 1000))

    def _write_counted(self, now: float) -> None:
        while self._refusals:
            name, (since, count) = next(iter(self._refusals.items()))
            if now - since < REPEATED_AFTER:
                return
            del self._refusals[name]
            self._write_count(name, (since, count))

    def _write_count(self, name: tuple[str, str, str], counted: tuple[float, int]) -> None:
        actor, action, reason = name
        _, count = counted
        if count > 1:
            self.record(actor, action, detail={"refused": reason, "times": count - 1})

    def _post(self, record: Record) -> None:
        written: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._writing.add(written)
        written.add_done_callback(lambda done: self._finish(record, done))
        self._store.post(append, record, written)

    def _finish(self, record: Record, done: "asyncio.Future[tuple[int, bytes]]") -> None:
        """Count a row, and write one that is in the database to the file too."""
        self._writing.discard(done)
        try:
            sequence, digest = done.result()
            self.written += 1
            if self._file is not None:
                self._file.emit(logging.makeLogRecord({"msg": _line(record, sequence, digest)}))
        except Exception:
            self.failures += 1
            log.exception("The audit trail cannot be written")


class _File(RotatingFileHandler):
    """A rotated file whose failures are raised: a trail that is not written must be known."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own hook
        fault = sys.exception()
        assert fault is not None
        raise fault


def _line(record: Record, sequence: int, digest: bytes) -> str:
    line = {"sequence": sequence, **record._asdict(), "hash": digest.hex()}
    line["detail"] = json.loads(record.detail)
    return json.dumps(line, ensure_ascii=False)


def append(session: Session, records: list[Record]) -> list[tuple[int, bytes]]:
    """Add rows to the chain.

    Returns:
        The sequence number and the hash of each.
    """
    counter = (
        revisions.update()
        .where(revisions.c.name == _COUNTER)
        .values(value=revisions.c.value + len(records))
        .returning(revisions.c.value)
    )
    # The row stays locked until the commit: replicas add to the chain one after the other.
    last = int(session.connection.execute(counter).scalar_one())
    first = last - len(records) + 1
    before = select(audit.c.hash).where(audit.c.sequence == first - 1)
    digest = bytes(session.connection.execute(before).scalar() or _ORIGIN)
    added: list[tuple[int, bytes]] = []
    rows = []
    for sequence, record in enumerate(records, first):
        digest = chain(digest, sequence, record)
        added.append((sequence, digest))
        rows.append({"sequence": sequence, **record._asdict(), "hash": digest})
    session.connection.execute(audit.insert(), rows)
    return added


def chain(before: bytes, sequence: int, record: Record) -> bytes:
    """The hash of a row: over the hash before it and everything that it says."""
    text = json.dumps([sequence, *record], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(before + text.encode()).digest()


def verify(connection: Connection) -> Verdict:
    """Check the whole chain, and that its end has not been cut off."""
    counter = connection.execute(select(revisions.c.value).where(revisions.c.name == _COUNTER)).scalar_one()
    last, digest = 0, _ORIGIN
    checked = 0
    for row in _rows(connection):
        if last == 0 and row.sequence > 1:
            # What came before was deleted by age; the chain hangs on this row.
            last, digest = row.sequence, bytes(row.hash)
            continue
        record = Record(row.at, row.actor, row.action, row.target, row.detail)
        if row.sequence != last + 1 or chain(digest, row.sequence, record) != bytes(row.hash):
            return Verdict(checked, last + 1)
        last, digest = row.sequence, bytes(row.hash)
        checked += 1
    return Verdict(checked, None if last == counter else last + 1)


def latest(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """The latest rows, the newest last, as JSON shows them."""
    rows = connection.execute(select(audit).order_by(audit.c.sequence.desc()).limit(limit)).all()
    return [
        {
            **row._asdict(),
            "at": rfc3339.write(row.at),
            "detail": json.loads(row.detail),
            "hash": bytes(row.hash).hex(),
        }
        for row in reversed(rows)
    ]


def _rows(connection: Connection) -> Iterator[Any]:
    """All rows in their order, some at a time."""
    last = -1
    while True:
        after = select(audit).where(audit.c.sequence > last).order_by(audit.c.sequence).limit(1000)
        rows = connection.execute(after).all()
        if not rows:
            return
        yield from rows
        last = rows[-1].sequence


def _prune(session: Session, before: int) -> int:
    # Only up to the first row that is young: a row whose clock was wrong takes none with it.
    young = select(func.min(audit.c.sequence)).where(audit.c.at >= before)
    first = session.connection.execute(young).scalar()
    old = select(func.max(audit.c.sequence)).where(audit.c.at < before)
    if first is not None:
        old = old.where(audit.c.sequence < first)
    last = session.connection.execute(old).scalar()
    if last is None:
        return 0
    return session.connection.execute(delete(audit).where(audit.c.sequence < last)).rowcount
