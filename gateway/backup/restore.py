"""Put an archive back."""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from gateway.backup.archive import DATA, DATABASE, PRICES, Manifest, Progress, read
from gateway.backup.database import require
from gateway.backup.places import REPLACED, BackupError, Places
from gateway.backup.scratch import scratch
from gateway.cli_files import complete_or_absent
from gateway.ledger.instances import in_use
from gateway.store.migrate import refuse_newer


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done.

    Attributes:
        manifest: of the archive.
        replaced: the folder that holds what was there before; None where there was nothing.
        prices_kept: CONFIG_DIR has other prices than the archive, or cannot be written: its own were left.
    """

    manifest: Manifest
    replaced: Path | None
    prices_kept: bool


def restore(places: Places, stream: BinaryIO, progress: Progress, *, force: bool = False) -> Restored:
    """Put an archive in the place of what a gateway has; nothing is touched before all of it is checked.

    An older schema stays as it is: the next start migrates it.

    Args:
        places: where to.
        stream: the archive; a pipe will do.
        progress: told of the bytes that are read.
        force: move existing data aside; without it they are a reason to refuse.

    Raises:
        ArchiveError: the archive is damaged, not whole, or none of ours.
        BackupError: a server runs on these data, there are some already, or the archive is too new.
        OSError: a file cannot be written.
    """
    _refuse_running(places)
    existing = _existing(places)
    if existing and not force:
        raise BackupError(
            f"{places.data} holds data already ({', '.join(path.name for path in existing)}): restore into an"
            f" empty DATA_DIR, or with --force, which moves them to {places.data / REPLACED}"
        )
    places.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with scratch(places.data) as staged:
        manifest = read(stream, staged, lambda _: True, progress)
        require(staged / DATABASE, manifest)
        refuse_newer(manifest.schema)
        _sync(staged)
        _refuse_running(places)
        replaced = _move_aside(places) if existing else None
        for source, target in _moves(staged, places):
            _move(source, target)
        kept = not _restore_prices(staged / PRICES, places.prices)
    _sync_folder(places.data)
    return Restored(manifest, replaced, kept)


def _refuse_running(places: Places) -> None:
    if in_use(places.database):
        raise BackupError(f"a server runs on {places.data}: stop it first")


def _existing(places: Places) -> list[Path]:
    return [path for path in places.database_files if path.exists()] + places.entries()


def _move_aside(places: Places) -> Path:
    folder = places.data / REPLACED / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    folder.mkdir(mode=0o700, parents=True)
    for path in _existing(places):
        shutil.move(path, folder / path.name)
    return folder


def _move(source: Path, target: Path) -> None:
    """Move a file or folder; a file to another file system so that it is there whole or not at all."""
    if source.is_dir() or source.stat().st_dev == target.parent.stat().st_dev:
        shutil.move(source, target)
        return
    with source.open("rb") as content, complete_or_absent(target) as file:
        shutil.copyfileobj(content, file)
    _sync_folder(target.parent)


def _moves(staged: Path, places: Places) -> Iterator[tuple[Path, Path]]:
    """What goes where. The database comes last: a restore that was cut off is not taken for a whole one."""
    for source in sorted((staged / DATA).iterdir()):
        if source != staged / DATABASE:
            yield source, places.data / source.name
    places.database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    yield staged / DATABASE, places.database


def _restore_prices(source: Path, target: Path) -> bool:
    """Put the operator's prices back where there are none; returns False when others stay in force."""
    if not source.exists():
        return not target.exists()
    try:
        if target.exists():
            return target.read_bytes() == source.read_bytes()
        target.parent.mkdir(parents=True, exist_ok=True)
        with complete_or_absent(target) as file:  # half of them would be a fault at the next start
            file.write(source.read_bytes())
    except OSError:  # mounted read-only, as a container's /config is
        return False
    return True


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
