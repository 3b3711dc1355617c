"""The database of the settings, for commands that look at one and must not begin one."""

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.faults import OperatorFault
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.store import Store


class NoDatabaseError(OperatorFault):
    """There is no database where the settings say."""


def is_sqlite(settings: Settings) -> bool:
    """Tell whether the database is a file, not a server's."""
    url = settings.database_url
    return url is None or url.get_secret_value().startswith("sqlite")


def missing(settings: Settings) -> Path | None:
    """The database's file where there is none yet; None for one that exists, and for a server's.

    Raises:
        gateway.backup.BackupError: the database is in memory.
    """
    if not is_sqlite(settings):
        return None
    from gateway.backup import Places

    database = Places.of(settings).database
    return None if database.is_file() else database


def check_exists(settings: Settings) -> None:
    """Refuse what would otherwise make a new installation in a mistyped folder.

    Raises:
        NoDatabaseError: there is no database.
        gateway.backup.BackupError: it is in memory.
    """
    if (database := missing(settings)) is not None:
        raise NoDatabaseError(f"there is no database at {database}: is DATA_DIR the one of the server?")


def open_existing(settings: Settings) -> "Store":
    """The database that the settings name, which must exist.

    Raises:
        NoDatabaseError: there is none.
        gateway.backup.BackupError: it is in memory.
        gateway.store.StoreError: it cannot be opened, or its schema is newer than this version.
        OSError: DATA_DIR cannot be written.
    """
    check_exists(settings)
    from gateway.opening import open_store

    return open_store(settings)
