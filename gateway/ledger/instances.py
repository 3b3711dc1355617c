"""Which processes are alive, so that the calls of dead ones can be closed.

On one machine the system knows: each process holds a lock on a file, and the kernel drops it however the
process dies. Replicas that share a database know each other only by a lease, which each renews while it
lives.
"""

import fcntl
import secrets
import time
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, func, select, text

from gateway.store import Session, Store
from gateway.store.tables import calls, instances

LEASE = 30.0
"""Seconds after its last sign of life that a replica is held for dead."""

RENEW_AFTER = 10.0
"""Seconds between signs of life."""


class Instance:
    """This process in the table of processes.

    Args:
        store: the database.

    Attributes:
        id: its number; never used twice.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._token = secrets.token_hex(8)
        self._locks = _folder(store) if store.embedded else None
        self._lock: IO[bytes] | None = None
        if self._locks is not None:  # locked before anybody can read of it
            self._locks.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _lock(self._path(self._token))
        self.id: int = store.write_now(_register, self._token)

    async def renew(self) -> None:
        """Give a sign of life, where no lock does: on one machine an idle gateway lets the disk sleep."""
        if self._locks is None:
            await self._store.write(_renew, self.id, self._token)

    def dead(self, connection: Connection) -> list[int]:
        """The processes that died and may have left calls open."""
        opened = select(calls.c.instance_id).where(calls.c.status == "started").distinct()
        rows = {row.id: row for row in connection.execute(select(instances))}
        now = _now(connection)
        dead = [row.id for row in rows.values() if row.id != self.id and self._is_dead(row, now)]
        known = {*rows, self.id}  # even where another has struck us out meanwhile
        return dead + [number for number in connection.execute(opened).scalars() if number not in known]

    def forget(self, session: Session, dead: list[int]) -> None:
        """Strike out processes whose calls are all closed."""
        rows = session.connection.execute(select(instances.c.token).where(instances.c.id.in_(dead)))
        if self._locks is not None:
            for token in rows.scalars():
                self._path(token).unlink(missing_ok=True)
        session.connection.execute(instances.delete().where(instances.c.id.in_(dead)))

    async def close(self) -> None:
        """Leave the table; all calls of this process must be settled."""
        await self._store.write(self.forget, [self.id])
        if self._lock is not None:
            self._lock.close()

    def _is_dead(self, row: Any, now: int) -> bool:
        if self._locks is None:
            return bool(row.expires_at < now)
        lock = _lock(self._path(row.token))
        if lock is None:
            return False
        lock.close()
        return True

    def _path(self, token: str) -> Path:
        assert self._locks is not None
        return self._locks / f"{token}.lock"


def in_use(database: Path) -> bool:
    """Whether a process that serves from an SQLite file is alive."""
    for path in _locks_beside(database).glob("*.lock"):
        lock = _lock(path)
        if lock is None:
            return True
        lock.close()
    return False


def _folder(store: Store) -> Path:
    return _locks_beside(Path(store.engine.url.database or "."))


def _locks_beside(database: Path) -> Path:
    """The folder of locks, beside the file itself, by whatever link it is named."""
    return database.resolve().with_name("instances")


def _lock(path: Path) -> IO[bytes] | None:
    """Lock a file for as long as it stays open; None when another process has it."""
    file = path.open("ab")  # which leaves it as it is
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _now(connection: Connection) -> int:
    """Milliseconds by the clock of the database, the one that all replicas share."""
    if connection.dialect.name == "sqlite":
        return int(time.time() * 1000)
    seconds = connection.execute(select(func.extract("epoch", text("clock_timestamp()")))).scalar_one()
    return int(seconds * 1000)


def _register(session: Session, token: str) -> int:
    expires_at = _now(session.connection) + int(LEASE * 1000)
    row = instances.insert().values(token=token, expires_at=expires_at).returning(instances.c.id)
    return int(session.connection.execute(row).scalar_one())


def _renew(session: Session, number: int, token: str) -> None:
    expires_at = _now(session.connection) + int(LEASE * 1000)
    renewed = session.connection.execute(
        instances.update().where(instances.c.id == number).values(expires_at=expires_at)
    )
    if not renewed.rowcount:  # held for dead after a pause, and struck out
        session.connection.execute(instances.insert().values(id=number, token=token, expires_at=expires_at))
