"""Make an archive beside a running server."""

import contextlib
import os
import time
from pathlib import Path
from typing import BinaryIO

from gateway import __version__
from gateway.backup.archive import DATABASE, PRICES, Manifest, Progress, Writer
from gateway.backup.database import copy
from gateway.backup.places import BackupError, Places
from gateway.backup.scratch import scratch
from gateway.logs import timestamp


def create(places: Places, stream: BinaryIO, progress: Progress) -> Manifest:
    """Write an archive of all that must last; a running server goes on meanwhile.

    The database comes first, as of one moment. What its rows tell of and is deleted meanwhile is missing from
    the archive then, as it would be a moment later.

    Args:
        places: whose.
        stream: where to; a pipe will do.
        progress: told of the bytes of the archive's files that are done.

    Raises:
        BackupError: there is no database, or it is damaged.
        OSError: a file cannot be read or written.
    """
    if not places.database.is_file():
        raise BackupError(f"there is no database at {places.database}: is DATA_DIR the one of the server?")
    now = time.time()
    writer = Writer(stream)
    with scratch(places.data) as folder:
        snapshot = folder / "gateway.db"
        schema, rows = copy(places.database, snapshot, progress)
        _add(writer, DATABASE, snapshot, lambda _: None)  # its bytes were told of when they were copied
    for name, path in places.files():
        with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
            _add(writer, name, path, progress)
    with contextlib.suppress(FileNotFoundError):
        _add(writer, PRICES, places.prices, progress)
    manifest = Manifest(__version__, schema, timestamp(now), rows, writer.files)
    writer.close(manifest.encode(), now)
    return manifest


def _add(writer: Writer, name: str, path: Path, progress: Progress) -> None:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        writer.add(name, file, status.st_size, status.st_mtime, progress)
