"""The SQLite file itself: copied while it is written to, and compared with what a manifest says of it."""

import contextlib
import sqlite3
from contextlib import closing
from pathlib import Path

from gateway.backup.archive import Manifest, Progress
from gateway.backup.places import BackupError

PAGES = 1024
"""Pages that are copied at a time."""


def copy(database: Path, target: Path, progress: Progress) -> tuple[str, dict[str, int]]:
    """Copy a database as of one moment, beside a server that writes to it, and check the copy.

    Args:
        database: the SQLite file.
        target: the copy, to be made.
        progress: told of the bytes that are copied.

    Returns:
        The revision of its schema, and the rows of its tables.

    Raises:
        BackupError: it is damaged, or none of the gateway's.
    """
    try:
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(target)) as sink:
            # Reading has begun before the first page is copied: the copy is of this moment, and does not
            # start anew whenever the server commits.
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
            page_size = source.execute("PRAGMA page_size").fetchone()[0]
            left = source.execute("PRAGMA page_count").fetchone()[0]

            def tell(_: int, remaining: int, __: int) -> None:
                nonlocal left
                progress((left - remaining) * page_size)
                left = remaining

            source.backup(sink, pages=PAGES, progress=tell)
            sink.execute("PRAGMA journal_mode=DELETE").fetchone()  # one file, whole without a log beside it
            return _describe(sink)
    except sqlite3.Error as fault:
        raise BackupError(f"the database {database} cannot be copied: {fault}") from fault


def require(database: Path, manifest: Manifest) -> None:
    """Make sure that an unpacked database is sound and the one that its manifest describes.

    Raises:
        BackupError: it is not.
    """
    try:
        with closing(sqlite3.connect(database)) as connection:
            schema, rows = _describe(connection)
    except sqlite3.Error as fault:
        raise BackupError(f"the archive's database is damaged: {fault}") from fault
    if (schema, rows) != (manifest.schema, manifest.rows):
        raise BackupError("the archive's database is not the one that its manifest describes")


def _describe(connection: sqlite3.Connection) -> tuple[str, dict[str, int]]:
    damage = [row[0] for row in connection.execute("PRAGMA integrity_check(5)") if row[0] != "ok"]
    if damage:
        raise BackupError(f"the database is damaged: {'; '.join(damage)}")
    return _schema(connection), _rows(connection)


def _schema(connection: sqlite3.Connection) -> str:
    with contextlib.suppress(sqlite3.OperationalError):  # no such table
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        if row is not None:
            return str(row[0])
    raise BackupError("the file is no database of the gateway")


def _rows(connection: sqlite3.Connection) -> dict[str, int]:
    names = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    ).fetchall()
    return {
        name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]  # noqa: S608 - of the schema
        for (name,) in names
    }
