"""Folders for what is half-done, which must not stay behind: a copy of the database may be large."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = ".half-done-"

SETTLED = 60.0
"""Seconds after which a folder without a lock is one that a killed process has left."""


@contextmanager
def scratch(parent: Path | None) -> Iterator[Path]:
    """A folder of its own, gone at the end. What killed processes have left beside it goes at the beginning.

    Args:
        parent: where; the system's place for such folders when None.
    """
    if parent is not None:
        _remove_left(parent)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent) as name:
        handle = os.open(name, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # which the kernel drops however the process ends
            yield Path(name)
        finally:
            os.close(handle)


def _remove_left(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            handle = os.open(folder, os.O_RDONLY)
        except OSError:  # gone meanwhile, or another user's
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - os.fstat(handle).st_mtime > SETTLED:
                shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(handle)
