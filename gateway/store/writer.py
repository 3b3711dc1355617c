"""The one thread that writes to the database, many operations to a commit.

A commit costs more than the few rows of a call. So callers queue what they want written, the thread takes all
that waits, writes it in one transaction and wakes the event loop once. The request path waits for one commit
at most; what nobody waits for rides along with the next one.
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
"""Operations that are waited for in one transaction; what was posted comes along."""

RETRY_AFTER = 1.0
"""Seconds until posted writes are tried again after the database failed as a whole."""

LOOK = 0.1
"""Seconds between looks at whether the file is still there."""

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
        posted: it must not be lost, whatever becomes of the database meanwhile.
    """

    batch: Batch
    item: Any
    waiter: Waiter
    posted: bool = False
    retried: bool = False


class Writer:
    """Runs the writing thread.

    Args:
        engine: where to write, in autocommit mode: the writer begins and commits for itself.
        file: that of an SQLite database, watched so that nothing is written into one that is gone.

    Attributes:
        commits: transactions committed.
        operations: operations committed.
        failures: operations that failed.
        commit_seconds: time spent in all transactions.
        last_commit_seconds: time spent in the last one.
    """

    def __init__(self, engine: Engine, file: DatabaseFile | None = None) -> None:
        self._engine = engine
        self._file = file
        self._looked = 0.0
        self._begin = "BEGIN IMMEDIATE" if engine.dialect.name == "sqlite" else "BEGIN"
        self._calls: SimpleQueue[None] = SimpleQueue()
        self._awaited: deque[Operation] = deque()
        self._posted: deque[Operation] = deque()
        self._calling: asyncio.AbstractEventLoop | None = None
        self._armed = False
        self._closing = False
        self._session: Session | None = None
        self.commits = 0
        self.operations = 0
        self.failures = 0
        self.commit_seconds = 0.0
        self.last_commit_seconds = 0.0
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        """Operations that wait to be written."""
        return len(self._awaited) + len(self._posted)

    def submit(self, batch: Batch, item: Any, waiter: Waiter) -> None:
        """Queue an item for the next commit; the waiter gets its result.

        To wake the thread costs more than most of a request: the event loop does it once a turn, for all that
        is queued in that turn.

        Raises:
            ServiceUnavailable: too much is waiting, or the store is closed.
        """
        if self._closing or len(self._awaited) >= LONGEST_QUEUE:
            raise ServiceUnavailable("the database cannot keep up; try again", retry_after=1)
        self._awaited.append(Operation(batch, item, waiter))
        loop = waiter.get_loop() if isinstance(waiter, asyncio.Future) else None
        if loop is None:
            self._calls.put(None)
        elif self._calling is not loop:
            self._calling = loop
            loop.call_soon(self._call)

    def post(self, batch: Batch, item: Any, waiter: Waiter = None) -> None:
        """Queue an item that is in no hurry: it goes with the next commit, or after LINGER alone."""
        if not self._thread.is_alive():
            log.error("A write came after the store was closed: %s", batch)
            return
        self._posted.append(Operation(batch, item, waiter, posted=True))
        if not self._armed:
            self._armed = True
            try:
                asyncio.get_running_loop().call_later(LINGER, self._wake)
            except RuntimeError:  # no loop: a command
                self._wake()

    def close(self) -> None:
        """Write all that waits, then end the thread."""
        self._closing = True
        self._calls.put(None)
        self._thread.join()

    def _call(self) -> None:
        self._calling = None
        self._calls.put(None)

    def _wake(self) -> None:
        self._armed = False
        self._calls.put(None)

    def _run(self) -> None:
        while not (self._closing and not self.queued):
            group = self._take()
            if group:
                try:
                    self._write(group)
                except Exception:
                    log.exception("Writer failed")
        self._disconnect()

    def _take(self) -> list[Operation]:
        """Wait for something to write, then take all there is: those that are waited for first.

        A posted write may concern the row of a waited-for one (a call that ends while its start is queued),
        never the other way round.
        """
        self._calls.get()
        posted = len(self._posted)  # looked at first: what those may concern was submitted before them
        awaited = len(self._awaited)
        group = [self._awaited.popleft() for _ in range(min(awaited, LARGEST_GROUP))]
        if awaited > LARGEST_GROUP:
            self._calls.put(None)
        else:
            group += [self._posted.popleft() for _ in range(posted)]
        return group

    def _write(self, group: list[Operation]) -> None:
        started = time.perf_counter()
        try:
            results = self._together(group)
        except Exception as fault:  # whatever one of them did, the others shall be written
            log.debug("A group of writes failed, trying one by one: %r", fault)
            try:
                results = self._apart(group)
            except Exception as failure:  # the database failed as a whole: everybody is told
                self._fail(group, failure)
                return
        self.last_commit_seconds = time.perf_counter() - started
        self.commit_seconds += self.last_commit_seconds
        self.commits += 1
        self.operations += len(group)
        _deliver(zip(group, results, strict=True))

    def _together(self, group: list[Operation]) -> list[Any]:
        """Write the whole group in one transaction, all items of a batch at once."""
        batches: dict[Batch, list[int]] = {}
        for index, operation in enumerate(group):
            batches.setdefault(operation.batch, []).append(index)
        results: list[Any] = [None] * len(group)
        session = self._connect()
        session.retried = any(operation.retried for operation in group)
        session.cursor.execute(self._begin)
        try:
            for batch, indexes in batches.items():
                answers = batch(session, [group[index].item for index in indexes])
                for index, answer in zip(indexes, answers, strict=True):
                    results[index] = answer
            session.cursor.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        return results

    def _apart(self, group: list[Operation]) -> list[Any]:
        """Write the group again, each item in a savepoint: a failure becomes that item's result."""
        results: list[Any] = []
        session = self._connect()
        session.retried = True
        session.cursor.execute(self._begin)
        try:
            for operation in group:
                session.cursor.execute("SAVEPOINT item")
                try:
                    results.append(operation.batch(session, [operation.item])[0])
                except Exception as failure:  # handed to whoever waits
                    session.cursor.execute("ROLLBACK TO SAVEPOINT item")
                    results.append(failure)
                session.cursor.execute("RELEASE SAVEPOINT item")
            session.cursor.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        return results

    def _fail(self, group: list[Operation], failure: Exception) -> None:
        """Tell those who wait; keep what nobody waits for, which must not be lost, and try again later."""
        kept = [operation for operation in group if operation.posted]
        log.error("The database cannot be written: %s (%d writes kept)", failure, len(kept))
        for operation in kept:
            operation.retried = True
        self._posted.extendleft(reversed(kept))
        told = [operation for operation in group if not operation.posted]
        self.failures += len(told)
        unavailable = ServiceUnavailable("the database cannot be written")
        _deliver((operation, unavailable) for operation in told)
        self._disconnect()
        if self._closing:
            self.failures += len(self._posted)
            self._posted.clear()
        elif kept:
            timer = threading.Timer(RETRY_AFTER, self._calls.put, (None,))
            timer.daemon = True
            timer.start()

    def _connect(self) -> Session:
        """The connection, once it is sure that what goes through it will be found again."""
        now = time.monotonic()
        if self._file is not None and now - self._looked >= LOOK:
            self._file.check()
            self._looked = now
        if self._session is None:
            self._session = Session(self._engine.connect())
        return self._session

    def _roll_back(self) -> None:
        if self._session is not None:
            try:
                self._session.cursor.execute("ROLLBACK")
            except Exception:  # the connection itself is gone; a new one starts clean
                self._disconnect()

    def _disconnect(self) -> None:
        """Let go of the connection, for good: it may be broken, or in the middle of a transaction."""
        if self._session is not None:
            self._session.cursor.close()
            self._session.connection.invalidate()
            self._session.connection.close()
            self._session = None


def _deliver(results: Iterable[tuple[Operation, Any]]) -> None:
    """Hand out results: one wake-up for each event loop that waits."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[Waiter, Any]]] = {}
    for operation, result in results:
        waiter = operation.waiter
        if isinstance(waiter, asyncio.Future):
            loops.setdefault(waiter.get_loop(), []).append((waiter, result))
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
