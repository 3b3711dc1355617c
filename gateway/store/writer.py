"""What writes to the database, many operations to a commit.

A commit costs more than the few rows of a call. So callers queue what they want written, and once a turn of
the event loop all that waits is written in one transaction. The request path waits for one commit at most;
what nobody waits for is written with others of its kind, some milliseconds on.

A thread writes. On SQLite it is spared what takes no time: a commit of a few rows is a copy into the
system's memory, and to hand it over would take longer. The event loop makes such a commit itself, as long as
nothing stands in its way; whatever does is the thread's to wait for (docs/adr/0019).
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from sqlalchemy import Connection, Engine

from gateway.errors import ServiceUnavailable
from gateway.store.file import DatabaseFile

log = logging.getLogger(__name__)

LINGER = 0.01
"""Seconds that a write for which nobody waits may wait for company."""

LONGEST_QUEUE = 10_000
"""Operations that may wait; beyond it the database is plainly too slow and callers are told to come again."""

LARGEST_GROUP = 256
"""Operations that are waited for in one transaction; what was posted comes along. It bounds also how much of
what failed before is tried again at a time."""

RETRY_AFTER = 1.0
"""Seconds until posted writes are tried again after the database failed as a whole, and between reports."""

FAILING_FOR = 10.0
"""Seconds for which a failure counts, unless a commit succeeds meanwhile."""

LOOK = 0.1
"""Seconds between looks at whether the file is still there."""

SLOW = 0.005
"""Seconds of a commit that must not hold up the event loop again; the thread makes those that follow."""

SLOW_FOR = 10.0
"""Seconds for which it does, before the disk is trusted anew."""

THREADS_TURN = 64
"""Commits of which the thread makes two: its connection moves SQLite's log into the file when that is long,
and the commit after that syncs the new log's head."""

_SQLITE_FAILS = frozenset({5, 6, 7, 8, 10, 13, 14})
"""BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN (https://www.sqlite.org/rescode.html)."""

_SQLSTATE_FAILS = ("08", "25006", "40", "53", "55", "57", "58")
"""Beginnings: connections, read only, deadlocks, resources, locks, the operator, the system
(https://www.postgresql.org/docs/current/errcodes-appendix.html)."""

Batch = Callable[["Session", list[Any]], list[Any]]
"""Writes items in the session's transaction, returns a result for each. It may run twice: no side effects."""

Waiter = asyncio.Future[Any] | Future[Any] | None
"""Who gets the result, or the exception."""


class Session:
    """The transaction that a write takes part in.

    Attributes:
        connection: for SQLAlchemy statements. Never commit or roll back here: the writer does.
        cursor: the driver's own, for the hot statements.
        retried: a former attempt of the same operation failed, perhaps after it had been committed.
    """

    __slots__ = ("connection", "cursor", "retried")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.cursor: Any = connection.connection.cursor()
        self.retried = False


@dataclass(slots=True)
class Operation:
    """One item for a batch.

    Args:
        waiter: who is told of the result.
        brief: it takes microseconds, so that the event loop may make it.
        posted: it must not be lost, whatever becomes of the database meanwhile.
    """

    batch: Batch
    item: Any
    waiter: Waiter
    brief: bool = True
    posted: bool = False
    retried: bool = False


class Writer:
    """Writes, in the event loop or in its thread.

    Args:
        engine: where to write, in autocommit mode: the writer begins and commits for itself.
        file: that of an SQLite database, watched so that nothing is written into one that is gone.

    Attributes:
        commits: transactions committed.
        failures: operations that failed.
        commit_seconds: time spent in all transactions.
    """

    def __init__(self, engine: Engine, file: DatabaseFile | None = None) -> None:
        self._engine = engine
        self._file = file
        self._looked = 0.0
        self._embedded = engine.dialect.name == "sqlite"
        self._begin_sql = "BEGIN IMMEDIATE" if self._embedded else "BEGIN"
        self._calls: SimpleQueue[None] = SimpleQueue()
        self._awaited: deque[Operation] = deque()
        self._posted: deque[Operation] = deque()
        self._calling: asyncio.AbstractEventLoop | None = None
        self._armed = False
        self._hurried = False
        self._closing = False
        self._resting = False
        self._reported = -RETRY_AFTER
        self._failed = -FAILING_FOR
        self._writing = threading.Lock()
        self._sessions: dict[bool, Session] = {}
        self._turns = 0
        self._trusted_from = 0.0
        self.commits = 0
        self.failures = 0
        self.commit_seconds = 0.0
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def failing(self) -> bool:
        """Whether the last write failed, not long ago."""
        return time.monotonic() - self._failed < FAILING_FOR

    @property
    def queued(self) -> int:
        """Operations that wait to be written."""
        return len(self._awaited) + len(self._posted)

    def submit(self, batch: Batch, item: Any, waiter: Waiter, *, brief: bool) -> None:
        """Queue an item for the next commit; the waiter gets its result.

        The event loop commits once a turn, all that is queued in that turn.

        Raises:
            ServiceUnavailable: too much is waiting, or the store is closed.
        """
        if self._closing or self.queued >= LONGEST_QUEUE:
            raise ServiceUnavailable("the database cannot keep up; try again", retry_after=1)
        self._awaited.append(Operation(batch, item, waiter, brief))
        loop = waiter.get_loop() if isinstance(waiter, asyncio.Future) else None
        if loop is None:
            self._calls.put(None)
        elif self._calling is not loop:
            self._calling = loop
            loop.call_soon(self._call)

    def hurry(self) -> None:
        """Let what is posted go with the next commit that is waited for."""
        self._hurried = True

    def post(self, batch: Batch, item: Any, waiter: Waiter = None) -> None:
        """Queue a brief item that is in no hurry: it waits for LINGER, unless the thread takes it along."""
        if not self._thread.is_alive():
            log.error("A write came after the store was closed: %s", batch)
            return
        self._posted.append(Operation(batch, item, waiter, posted=True))
        if not self._armed:
            self._armed = True
            try:
                asyncio.get_running_loop().call_later(LINGER, self._wake)
            except RuntimeError:  # no loop: a command
                self._armed = False
                self._calls.put(None)

    def close(self) -> None:
        """Write all that waits, then end the thread."""
        self._closing = True
        self._calls.put(None)
        self._thread.join()

    def _call(self) -> None:
        """Of the event loop: the turn is over."""
        self._calling = None
        if not self._write_here(posted=self._hurried):
            self._calls.put(None)

    def _wake(self) -> None:
        """Of the event loop: LINGER is over."""
        self._armed = False
        if not self._write_here(posted=True):
            self._calls.put(None)

    def _run(self) -> None:
        while not (self._closing and not self.queued):
            self._calls.get()
            try:
                with self._writing:
                    results = self._write(self._take(posted=self._closing or not self._resting))
                _deliver(results)
            except Exception:
                log.exception("Writer failed")
        with self._writing:
            self._disconnect(here=False)
            self._disconnect(here=True)

    def _take(self, *, posted: bool) -> list[Operation]:
        """Take all there is to write, with or without what is `posted`: what is waited for comes first.

        A posted write may concern the row of a waited-for one (a call that ends while its start is queued),
        never the other way round.
        """
        waiting = len(self._posted) if posted else 0  # looked at first: what it concerns was submitted before
        along = min(waiting, LARGEST_GROUP) if waiting and self._posted[0].retried else waiting
        self._hurried = self._hurried and not posted
        awaited = len(self._awaited)
        group = [self._awaited.popleft() for _ in range(min(awaited, LARGEST_GROUP))]
        if awaited > LARGEST_GROUP or waiting > along:
            self._calls.put(None)
        if awaited <= LARGEST_GROUP:
            group += [self._posted.popleft() for _ in range(along)]
        return group

    def _write_here(self, *, posted: bool) -> bool:
        """Write what is waited for in the event loop, and what is `posted`: once in LINGER costs least.

        Returns:
            Whether that is done; it is the thread's otherwise.
        """
        started = time.perf_counter()
        posted = posted and not self._resting
        if not self._embedded or started < self._trusted_from or not self._writing.acquire(blocking=False):
            return False
        try:
            if not (self._awaited or (posted and self._posted)):
                return True  # the thread was quicker
            self._turns += 1
            if self._turns % THREADS_TURN < 2 or not all(one.brief for one in list(self._awaited)):
                return False
            try:
                session = self._begin(here=True)
            except Exception as fault:  # another process writes, above all: the thread waits
                log.debug("Writes are left to the thread: %r", fault)
                return False
            group = self._take(posted=posted)
            try:
                results = self._together(session, group, here=True)
            except Exception as fault:  # the thread tries one by one, and tells
                log.debug("A group of writes is left to the thread: %r", fault)
                self._put_back(group)
                return False
            seconds = self._count(started)
            if seconds > SLOW:
                self._trusted_from = started + seconds + SLOW_FOR
        finally:
            self._writing.release()
        _deliver(zip(group, results, strict=True), asyncio.get_running_loop())
        return True

    def _put_back(self, group: list[Operation]) -> None:
        """Queue operations again where they were taken from."""
        for operation in reversed(group):
            operation.retried = True
            (self._posted if operation.posted else self._awaited).appendleft(operation)

    def _count(self, started: float) -> float:
        """Count a commit; returns how long it took."""
        seconds = time.perf_counter() - started
        self.commit_seconds += seconds
        self.commits += 1
        return seconds

    def _write(self, group: list[Operation]) -> list[tuple[Operation, Any]]:
        """Write a group, whatever it takes; returns what each operation gets."""
        if not group:
            return []
        started = time.perf_counter()
        try:
            results = self._together(self._begin(here=False), group, here=False)
        except Exception as fault:  # whatever one of them did, the others shall be written
            log.debug("A group of writes failed, trying one by one: %r", fault)
            try:
                results = self._apart(group)
            except Exception as failure:  # the database failed as a whole: everybody is told
                return self._fail(group, failure)
        self._count(started)
        return list(zip(group, results, strict=True))

    def _together(self, session: Session, group: list[Operation], *, here: bool) -> list[Any]:
        """Write the whole group in the transaction that was begun, all items of a batch at once."""
        batches: dict[Batch, list[int]] = {}
        for index, operation in enumerate(group):
            batches.setdefault(operation.batch, []).append(index)
        results: list[Any] = [None] * len(group)
        session.retried = any(operation.retried for operation in group)
        try:
            for batch, indexes in batches.items():
                answers = batch(session, [group[index].item for index in indexes])
                for index, answer in zip(indexes, answers, strict=True):
                    results[index] = answer
            self._commit(session)
        except BaseException:
            self._roll_back(here=here)
            raise
        return results

    def _apart(self, group: list[Operation]) -> list[Any]:
        """Write the group again, each item in a savepoint: a failure becomes that item's result."""
        results: list[Any] = []
        session = self._begin(here=False)
        session.retried = True
        try:
            for operation in group:
                session.cursor.execute("SAVEPOINT item")
                try:
                    results.append(operation.batch(session, [operation.item])[0])
                except Exception as failure:  # handed to whoever waits
                    if is_failing(failure):
                        raise
                    session.cursor.execute("ROLLBACK TO SAVEPOINT item")
                    results.append(failure)
                session.cursor.execute("RELEASE SAVEPOINT item")
            self._commit(session)
        except BaseException:
            self._roll_back(here=False)
            raise
        return results

    def _commit(self, session: Session) -> None:
        session.cursor.execute("COMMIT")
        self._failed = -FAILING_FOR

    def _fail(self, group: list[Operation], failure: Exception) -> list[tuple[Operation, Any]]:
        """Tell those who wait; keep what nobody waits for, which must not be lost, and try again later."""
        kept = [operation for operation in group if operation.posted]
        self._failed = now = time.monotonic()
        if now - self._reported >= RETRY_AFTER:
            self._reported = now
            log.error("The database cannot be written: %s (%d writes kept)", failure, self.queued + len(kept))
        for operation in kept:
            operation.retried = True
        self._posted.extendleft(reversed(kept))
        told = [operation for operation in group if not operation.posted]
        self.failures += len(told)
        self._disconnect(here=False)
        self._disconnect(here=True)
        if self._closing:
            self.failures += len(self._posted)
            self._posted.clear()
        elif kept:  # none is while they rest: there is one timer at most
            self._resting = True
            timer = threading.Timer(RETRY_AFTER, self._rested)
            timer.daemon = True
            timer.start()
        unavailable = ServiceUnavailable("the database cannot be written")
        return [(operation, unavailable) for operation in told]

    def _rested(self) -> None:
        self._resting = False
        self._calls.put(None)

    def _begin(self, *, here: bool) -> Session:
        """Begin a transaction; `here` in the event loop, which does not wait for anybody."""
        session = self._connect(here=here)
        session.cursor.execute(self._begin_sql)
        return session

    def _connect(self, *, here: bool) -> Session:
        """A connection, once it is sure that what goes through it will be found again.

        The event loop has its own, which neither waits for another process nor moves the log into the file.
        """
        now = time.monotonic()
        if self._file is not None and now - self._looked >= LOOK:
            self._file.check()
            self._looked = now
        session = self._sessions.get(here)
        if session is None:
            session = self._sessions[here] = Session(self._engine.connect())
            if here:
                session.cursor.execute("PRAGMA busy_timeout=0")
                session.cursor.execute("PRAGMA wal_autocheckpoint=0")
        return session

    def _roll_back(self, *, here: bool) -> None:
        session = self._sessions.get(here)
        if session is not None:
            try:
                session.cursor.execute("ROLLBACK")
            except Exception:  # the connection itself is gone; a new one starts clean
                self._disconnect(here=here)

    def _disconnect(self, *, here: bool) -> None:
        """Let go of a connection, for good: it may be broken, or in the middle of a transaction."""
        session = self._sessions.pop(here, None)
        if session is not None:
            session.cursor.close()
            session.connection.invalidate()
            session.connection.close()


def is_failing(failure: Exception) -> bool:
    """Whether the database itself failed, not what was asked of it: the same may succeed later."""
    cause = getattr(failure, "orig", failure)  # SQLAlchemy's errors hold the driver's
    code, state = getattr(cause, "sqlite_errorcode", None), getattr(cause, "sqlstate", None)
    if code is not None:
        return code & 0xFF in _SQLITE_FAILS
    return state is not None and state.startswith(_SQLSTATE_FAILS)


def _deliver(results: Iterable[tuple[Operation, Any]], here: asyncio.AbstractEventLoop | None = None) -> None:
    """Hand out results: at once in the running loop, with one wake-up for each other one that waits."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[Waiter, Any]]] = {}
    for operation, result in results:
        waiter = operation.waiter
        if isinstance(waiter, asyncio.Future):
            loop = waiter.get_loop()
            if loop is not here:
                loops.setdefault(loop, []).append((waiter, result))
            elif not waiter.done():
                _settle(waiter, result)
        elif isinstance(waiter, Future):
            _settle(waiter, result)
        elif isinstance(result, Exception):
            log.error("A posted write failed: %r", result)
    for loop, answers in loops.items():
        try:
            loop.call_soon_threadsafe(_settle_all, answers)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.debug("Results for a closed event loop dropped")


def _settle_all(answers: list[tuple[Any, Any]]) -> None:
    for future, result in answers:
        if not future.done():
            _settle(future, result)


def _settle(future: "asyncio.Future[Any] | Future[Any]", result: Any) -> None:
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
