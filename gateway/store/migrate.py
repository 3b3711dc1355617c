"""Bring the database to the schema that this version knows, at start."""

import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine

from gateway.faults import OperatorFault

SCRIPTS = Path(__file__).with_name("migrations")

ADVISORY_LOCK = 7_301_984
"""PostgreSQL's lock under which one replica migrates and the others wait."""


class StoreError(OperatorFault):
    """The database cannot be used; the message is for the operator."""


def upgrade(engine: Engine, snapshots: Path | None = None) -> None:
    """Apply the migrations that are missing, all or none.

    Args:
        engine: the database, in autocommit mode.
        snapshots: folder for a copy of an SQLite file, made before a schema in use is changed.

    Raises:
        StoreError: the schema is newer than this version, or the copy cannot be written.
    """
    config = _config()
    head = latest_schema()
    with engine.connect() as connection:
        current = schema(connection)
        if current == head:
            return
        refuse_newer(current)
        if current is not None and snapshots is not None:
            _snapshot(engine, snapshots, current)
        _begin(connection)
        try:
            if schema(connection) != head:  # another process may have been faster
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise


def latest_schema() -> str | None:
    """The revision of the schema that this version works with."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def schema(connection: Connection) -> str | None:
    """The revision of a database's schema; None where it has none."""
    return MigrationContext.configure(connection).get_current_revision()


def refuse_newer(current: str | None) -> None:
    """Make sure that a schema is one that this version can bring up to date.

    Raises:
        StoreError: it is newer.
    """
    try:
        ScriptDirectory.from_config(_config()).get_revision(current or "base")
    except CommandError as unknown:
        raise StoreError(
            f"the database has schema {current}, which this version does not know: it was written by a newer"
            " version. Run that one, or restore the snapshot that was taken before the upgrade"
        ) from unknown


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    return config


def _begin(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")


def _snapshot(engine: Engine, folder: Path, revision: str) -> None:
    """Copy an SQLite file, consistent also while another process writes to it."""
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return
    target = folder / f"gateway-{revision}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.db"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (
            closing(sqlite3.connect(engine.url.database)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
        target.chmod(0o600)
    except (OSError, sqlite3.Error) as fault:
        with suppress(OSError):
            target.unlink(missing_ok=True)  # not half a copy, for one that needs it
        raise StoreError(
            f"the database must be migrated, but its snapshot {target} failed: {fault}"
        ) from fault
