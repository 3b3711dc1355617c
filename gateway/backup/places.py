"""Where what must last stands, by the settings."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sqlalchemy.engine import URL, make_url

from gateway.backup.archive import DATA
from gateway.faults import OperatorFault
from gateway.settings import Settings

ARCHIVES = "backups"
"""The folder of DATA_DIR for archives: no archive holds another."""

REPLACED = "replaced"
"""The folder of DATA_DIR that a restore moves to what was there before."""

LEFT_OUT = frozenset({ARCHIVES, REPLACED, "instances", "snapshots", "lost+found"})
"""What of DATA_DIR is in no archive: copies of the same, and the locks of running processes."""


UNFINISHED = ".part"
"""The suffix of contents that are being written (`gateway.content`): no row of the database tells of them."""


class BackupError(OperatorFault):
    """A backup cannot be made or put back; the message is for the operator."""


@dataclass(frozen=True, slots=True)
class Places:
    """The files of a gateway with SQLite.

    Attributes:
        data: DATA_DIR.
        database: the SQLite file, in DATA_DIR or where DATABASE_URL says.
        prices: the operator's own prices, which may be missing.
    """

    data: Path
    database: Path
    prices: Path

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The places that the settings name.

        Raises:
            BackupError: the database is PostgreSQL, or in memory.
        """
        data = settings.data_dir.resolve()
        database: Path = data / "gateway.db"
        if settings.database_url is not None:
            url = make_url(settings.database_url.get_secret_value())
            if url.get_backend_name() != "sqlite":
                server = URL.create(
                    "postgresql", url.username, host=url.host, port=url.port, database=url.database
                )
                raise BackupError(
                    "the database is PostgreSQL, which has tools of its own: pg_dump --format=custom"
                    f" --file=gateway.dump '{server}' (and pg_restore); docs/backup.md tells the rest"
                )
            if not url.database or url.database == ":memory:":
                raise BackupError("DATABASE_URL names a database in memory: there is nothing to keep")
            database = Path(url.database).resolve()
        return cls(data, database, settings.config_dir / "prices.toml")

    @property
    def database_files(self) -> tuple[Path, Path, Path]:
        """The database with what SQLite keeps beside it."""
        return _with_companions(self.database)

    def entries(self) -> list[Path]:
        """What stands in DATA_DIR, but for the database, hidden names and what no archive has.

        Where the database is elsewhere, one that was left behind here is none of these either.
        """
        if not self.data.is_dir():
            return []
        databases = self._databases()
        return [
            path
            for path in sorted(self.data.iterdir())
            if path.name not in LEFT_OUT and path not in databases and not path.name.startswith(".")
        ]

    def files(self) -> Iterator[tuple[str, Path]]:
        """The files of those entries, and what each is called in an archive."""
        databases = self._databases()  # one may stand in a folder of DATA_DIR
        for entry in self.entries():
            if entry.is_file():
                yield DATA + entry.name, entry
            for folder, folders, names in os.walk(entry):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                for path in (Path(folder, name) for name in sorted(names)):
                    if path.name.startswith(".") or path.suffix == UNFINISHED or path in databases:
                        continue
                    if path.is_file():
                        yield DATA + path.relative_to(self.data).as_posix(), path

    def _databases(self) -> set[Path]:
        return {*_with_companions(self.data / "gateway.db"), *self.database_files}


def _with_companions(database: Path) -> tuple[Path, Path, Path]:
    return (database, database.with_name(f"{database.name}-wal"), database.with_name(f"{database.name}-shm"))
