"""Where the bytes of contents are: files beside an embedded database, else rows that replicas share."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, delete, func, select

from gateway.store import Session, Store
from gateway.store.tables import content_chunks, contents

PIECE = 1 << 20
"""Bytes that are written and read at a time, and the size of a chunk in the table."""

STALE = 86_400.0
"""Seconds after which bytes that no content owns are taken for the remains of a process that died."""


class Blobs(Protocol):
    """Bytes by id, written in pieces of `PIECE` bytes, the last one shorter."""

    async def append(self, content_id: str, sequence: int, piece: bytes) -> None:
        """Write a piece, numbered from 0."""

    async def finish(self, content_id: str) -> None:
        """All pieces are written: make them last."""

    async def piece(self, content_id: str, sequence: int) -> bytes | None:
        """A piece; None when there is none of this number."""

    async def delete(self, content_ids: Sequence[str]) -> None:
        """Remove the bytes, finished or not; those that are gone are no error."""

    async def sweep(self) -> int:
        """Remove bytes that no content owns, left by a process that died; returns of how many contents."""


class Files:
    """One file a content, readable by the server's user alone; under its name only once it is whole.

    Args:
        folder: made at the first write.
        store: knows which contents there are.
        now: the clock, in seconds since 1970.
    """

    def __init__(self, folder: Path, store: Store, now: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._store = store
        self._now = now

    async def append(self, content_id: str, sequence: int, piece: bytes) -> None:
        await asyncio.to_thread(self._append, content_id, piece)

    async def finish(self, content_id: str) -> None:
        await asyncio.to_thread(self._finish, content_id)

    async def piece(self, content_id: str, sequence: int) -> bytes | None:
        return await asyncio.to_thread(_read, self._folder / content_id, sequence * PIECE)

    async def delete(self, content_ids: Sequence[str]) -> None:
        await asyncio.to_thread(self._delete, content_ids)

    async def sweep(self) -> int:
        old = await asyncio.to_thread(self._older_than, self._now() - STALE)
        known = await self._store.read(_known, [name.removesuffix(".part") for name in old])
        lost = [name for name in old if name.endswith(".part") or name not in known]
        await asyncio.to_thread(self._unlink, lost)
        return len(lost)

    def _append(self, content_id: str, piece: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self._part(content_id)
        part.touch(mode=0o600)
        with part.open("ab") as file:
            file.write(piece)

    def _finish(self, content_id: str) -> None:
        part = self._part(content_id)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.rename(self._folder / content_id)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # the name must last as well
        finally:
            os.close(folder)

    def _part(self, content_id: str) -> Path:
        return self._folder / f"{content_id}.part"

    def _delete(self, content_ids: Iterable[str]) -> None:
        self._unlink(name for content_id in content_ids for name in (content_id, f"{content_id}.part"))

    def _unlink(self, names: Iterable[str]) -> None:
        for name in names:
            (self._folder / name).unlink(missing_ok=True)

    def _older_than(self, moment: float) -> list[str]:
        if not self._folder.is_dir():
            return []
        old = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    if entry.is_file(follow_symlinks=False) and entry.stat().st_mtime < moment:
                        old.append(entry.name)
        return old


class Rows:
    """One row a piece.

    Args:
        store: the database.
        now: the clock, in seconds since 1970.
    """

    def __init__(self, store: Store, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now

    async def append(self, content_id: str, sequence: int, piece: bytes) -> None:
        await self._store.write(_insert, content_id, sequence, piece, int(self._now() * 1000))

    async def finish(self, content_id: str) -> None:
        """Nothing to do: each piece is committed."""

    async def piece(self, content_id: str, sequence: int) -> bytes | None:
        return await self._store.read(_select, content_id, sequence)

    async def delete(self, content_ids: Sequence[str]) -> None:
        await self._store.write(_delete, list(content_ids))

    async def sweep(self) -> int:
        return await self._store.write(_sweep, int((self._now() - STALE) * 1000))


def _read(path: Path, offset: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(PIECE) or None
    except FileNotFoundError:
        return None


def _known(connection: Connection, names: list[str]) -> set[str]:
    """Which of these contents there are."""
    found: set[str] = set()
    for start in range(0, len(names), 500):
        some = select(contents.c.id).where(contents.c.id.in_(names[start : start + 500]))
        found.update(connection.execute(some).scalars())
    return found


def _insert(session: Session, content_id: str, sequence: int, piece: bytes, now: int) -> None:
    if session.retried and _select(session.connection, content_id, sequence) is not None:
        return  # the former attempt was committed after all
    row = content_chunks.insert().values(content_id=content_id, sequence=sequence, data=piece, created_at=now)
    session.connection.execute(row)


def _select(connection: Connection, content_id: str, sequence: int) -> bytes | None:
    wanted = select(content_chunks.c.data).where(
        content_chunks.c.content_id == content_id, content_chunks.c.sequence == sequence
    )
    data = connection.execute(wanted).scalar()
    return None if data is None else bytes(data)


def _delete(session: Session, content_ids: list[str]) -> None:
    session.connection.execute(delete(content_chunks).where(content_chunks.c.content_id.in_(content_ids)))


def _sweep(session: Session, before: int) -> int:
    lost = (content_chunks.c.created_at < before) & content_chunks.c.content_id.not_in(select(contents.c.id))
    count = select(func.count(content_chunks.c.content_id.distinct())).where(lost)
    found = int(session.connection.execute(count).scalar_one())
    if found:
        session.connection.execute(delete(content_chunks).where(lost))
    return found
