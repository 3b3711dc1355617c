"""The file of an SQLite database, which somebody may take away from under the gateway."""

import os

from gateway.store.migrate import StoreError


class DatabaseFile:
    """A file by its identity: SQLite goes on in one that was removed or replaced, and all of it is lost then.

    Args:
        path: where the file is, which exists.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._identity = self._look()

    def check(self) -> None:
        """Make sure that what is written will be found again; takes about two microseconds.

        Raises:
            StoreError: the file is gone, or another one is in its place.
        """
        if self._look() != self._identity:
            raise StoreError(f"{self._path} was removed or replaced: put it back, or restart the gateway")

    def _look(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - a third of what Path takes, for each commit
        except OSError:
            return None
        return found.st_dev, found.st_ino
