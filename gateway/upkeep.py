"""What is done once an hour: delete what is older than the operator keeps it, and measure what is left."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, func, select, text

from gateway.audit import Audit
from gateway.ledger import Ledger
from gateway.settings import Settings
from gateway.store import Store
from gateway.store.tables import (
    async_messages,
    audit,
    calls,
    contents,
    idempotency_keys,
    owners,
    usage_daily,
)
from gateway.tasks import stop

log = logging.getLogger(__name__)

INTERVAL = 3600.0
"""Seconds between rounds."""

DAY = 86_400.0
MEASURED = (calls, usage_daily, audit, owners, contents, idempotency_keys, async_messages)

Expire = Callable[[], Awaitable[int]]
"""Deletes what is past its own end; says how much that was."""


class Upkeep:
    """Keeps the database from growing for ever.

    Args:
        settings: how long what is kept.
        store: the database.
        ledger: whose settled rows go by age; the sums by day stay.
        audit_trail: whose rows go by age; the last one stays, as the one that the chain hangs on.
        expiring: by name, what else has an end.
        now: the clock, in seconds since 1970.

    Attributes:
        rows: rows by table, as counted in the last round.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        ledger: Ledger,
        audit_trail: Audit,
        expiring: Mapping[str, Expire],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._store = store
        self._ledger = ledger
        self._audit = audit_trail
        self._expiring = expiring
        self._now = now
        self._task: asyncio.Task[None] | None = None
        self._size = 0
        self.rows: Mapping[str, int] = {}

    @property
    def size(self) -> int:
        """Bytes of the database: of a file now, of a server's as measured in the last round."""
        path = self._store.engine.url.database
        if not self._store.embedded or path is None:
            return self._size
        files = (Path(path), Path(f"{path}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    async def start(self) -> None:
        """Begin with a round right away."""
        self._task = asyncio.create_task(self._work(), name="upkeep")

    async def close(self) -> None:
        """Stop; a step that is under way is finished by the database."""
        await stop(self._task)

    async def round(self) -> None:
        """Delete what is too old, then measure."""
        now, settings = self._now(), self._settings
        snapshots, oldest = settings.data_dir / "snapshots", now - settings.snapshot_retention_days * DAY
        steps: Mapping[str, Expire] = {
            **self._expiring,
            "calls": partial(self._ledger.prune, now - settings.ledger_retention_days * DAY),
            "audit": partial(self._audit.prune, now - settings.audit_retention_days * DAY),
            "snapshots": partial(asyncio.to_thread, _prune_snapshots, snapshots, oldest),
        }
        deleted: dict[str, int] = {}
        for name, delete in steps.items():
            try:
                deleted[name] = await delete()
            except Exception:  # the others are not kept for ever because of one
                log.exception("Old %s cannot be deleted; it is tried again in an hour", name)
        if any(deleted.values()):
            log.info("Old records are deleted", extra=deleted)
        self.rows = await self._store.read(_count)
        if not self._store.embedded:
            self._size = await self._store.read(_size)

    async def _work(self) -> None:
        while True:
            try:
                await self.round()
            except Exception:
                log.exception("Upkeep failed; it is tried again in an hour")
            await asyncio.sleep(INTERVAL)


def _prune_snapshots(folder: Path, before: float) -> int:
    """Delete old copies of the database, never the latest one; returns how many."""
    snapshots = sorted(folder.glob("*.db"), key=lambda path: path.stat().st_mtime)
    old = [path for path in snapshots[:-1] if path.stat().st_mtime < before]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


def _count(connection: Connection) -> dict[str, int]:
    return {
        table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for table in MEASURED
    }


def _size(connection: Connection) -> int:
    return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
