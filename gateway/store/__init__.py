"""The database: SQLite in DATA_DIR, or PostgreSQL where several replicas share it."""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from gateway.store.file import DatabaseFile
from gateway.store.migrate import StoreError, upgrade
from gateway.store.statements import Statements
from gateway.store.writer import Batch, Session, Waiter, Writer

__all__ = ["Batch", "Session", "Store", "StoreError"]

READERS = 4
"""Threads, and connections, for reading."""

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process that writes to the same SQLite file."""

P = ParamSpec("P")
T = TypeVar("T")


class Store:
    """The open database.

    Writes are committed in groups (`gateway.store.writer`), reads are made by a few threads with connections
    of their own.

    Args:
        url: SQLAlchemy's URL, such as `sqlite:////data/gateway.db` or `postgresql+psycopg://…`.
        snapshots: folder for copies of an SQLite file, taken before a migration.

    Raises:
        StoreError: the schema is newer than this version or the database cannot be opened.
    """

    def __init__(self, url: str, snapshots: Path | None = None) -> None:
        self.engine = _engine(url)
        try:
            upgrade(self.engine, snapshots)
        except DBAPIError as fault:
            self.engine.dispose()
            reason = " ".join(str(fault.orig).split())
            raise StoreError(f"the database {self.engine.url} cannot be used: {reason}") from fault
        except BaseException:
            self.engine.dispose()
            raise
        self.statements = Statements(self.engine.dialect)
        self.file = DatabaseFile(self.engine.url.database or "") if self.embedded else None
        if self.file is not None:
            event.listen(self.engine, "do_connect", self._check_file)
        self.writer = Writer(self.engine, self.file)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")

    @property
    def embedded(self) -> bool:
        """Whether it is a file of this machine, so that the system knows which of its users are alive."""
        return self.engine.dialect.name == "sqlite"

    def batch(self, batch: Batch, item: Any) -> "asyncio.Future[Any]":
        """Write an item together with the others of its batch; await its result, which the commit precedes.

        It must be brief, as the event loop may write it: a few rows, found by an index.

        Raises:
            ServiceUnavailable: too much is waiting.
        """
        return self._submit(batch, item, brief=True)

    def hurry(self) -> None:
        """Let what is posted so far be committed with the next item that is awaited."""
        self.writer.hurry()

    def post(self, batch: Batch, item: Any, waiter: Waiter = None) -> None:
        """Write a brief item that is in no hurry: it is committed some milliseconds on at most."""
        self.writer.post(batch, item, waiter)

    def write(self, function: Callable[..., T], /, *args: Any) -> "asyncio.Future[T]":
        """Call `function(session, …)` in the writer's transaction; await what it returns.

        It may be called twice (when another write of the group failed), so it must do nothing but write.

        Raises:
            ServiceUnavailable: too much is waiting.
        """
        return self._submit(_each, (function, args), brief=False)

    def write_now(self, function: Callable[..., T], /, *args: Any) -> T:
        """The same for commands and for start-up: wait right here."""
        future: Future[T] = Future()
        self.writer.submit(_each, (function, args), future, brief=False)
        return future.result()

    async def read(self, function: Callable[..., T], /, *args: Any) -> T:
        """Call `function(connection, …)` in a reading thread.

        It sees every write that is committed, not those that are only posted: `flush` first where that
        matters.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._readers, functools.partial(self.read_now, function, *args)
        )

    def read_now(self, function: Callable[..., T], /, *args: Any) -> T:
        """The same for commands and for start-up."""
        with self.engine.connect() as connection:
            return function(connection, *args)

    async def flush(self) -> None:
        """Wait until all that has been posted so far is committed, but for what the database has refused."""
        await self.write(_nothing)

    def _check_file(self, *_: object) -> None:
        """Before a connection is opened: to another file in its place it would cost the old one its log."""
        assert self.file is not None
        self.file.check()

    def _submit(self, batch: Batch, item: Any, *, brief: bool) -> "asyncio.Future[Any]":
        future = asyncio.get_running_loop().create_future()
        self.writer.submit(batch, item, future, brief=brief)
        return future

    async def close(self) -> None:
        """Write all that waits, then close."""
        await asyncio.get_running_loop().run_in_executor(None, self.close_now)

    def close_now(self) -> None:
        """The same for commands."""
        self.writer.close()
        self._readers.shutdown()
        self.engine.dispose()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        parsed.get_dialect().import_dbapi()
    except (ArgumentError, ImportError, ValueError) as fault:
        raise StoreError(
            "DATABASE_URL names no database that this version knows: it takes postgresql+psycopg://user@host/name"
            " or sqlite:////path"
        ) from fault
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(
            parsed,
            isolation_level="AUTOCOMMIT",
            connect_args={"timeout": BUSY_TIMEOUT, "check_same_thread": False, "cached_statements": 256},
        )
        event.listen(engine, "connect", _tune_sqlite)
        return engine
    # Plain `%s` in the order of the columns, as on SQLite `?`: rows stay tuples on the hot path.
    return create_engine(
        parsed, isolation_level="AUTOCOMMIT", paramstyle="format", pool_size=READERS + 1, pool_pre_ping=True
    )


def _tune_sqlite(connection: Any, _record: object) -> None:
    """Write-ahead log: readers and the writer do not wait for each other.

    `synchronous=NORMAL` syncs at checkpoints, not at commits: a killed process loses nothing, a power cut may
    lose the last moments and never harms the file (https://www.sqlite.org/pragma.html#pragma_synchronous).
    """
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "temp_store=MEMORY"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _each(session: Session, calls: list[tuple[Callable[..., Any], tuple[Any, ...]]]) -> list[Any]:
    return [function(session, *args) for function, args in calls]


def _nothing(_session: Session) -> None:
    """A write of nothing: done when all before it is."""
