"""Contents: their bytes, and the table that says whose they are and when they end."""

import logging
import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, delete, func, select

from gateway.content.blobs import PIECE, Blobs, Files, Rows
from gateway.errors import ServiceUnavailable
from gateway.store import Session, Store
from gateway.store.tables import contents

log = logging.getLogger(__name__)

AT_ONCE = 500
"""Contents that one step of a deletion takes."""


class ContentGone(LookupError):
    """The content was deleted, or is past its end."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A content that is kept. Times are milliseconds since 1970."""

    id: str
    key_id: str
    kind: str
    size: int
    created_at: int
    expires_at: int


class Content:
    """All contents.

    Args:
        store: the database; where it is embedded, the bytes are files.
        folder: for those files; made, with 0700, at the first write.
        now: the clock, in seconds since 1970.

    Attributes:
        kept: bytes by kind, as `expire` has measured them last.
    """

    def __init__(self, store: Store, folder: Path, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now
        self.kept: Mapping[str, int] = {}
        self._blobs: Blobs = Files(folder, store, now) if store.embedded else Rows(store, now)

    async def put(
        self, key_id: str, kind: str, data: bytes | AsyncIterable[bytes], *, lifetime: float
    ) -> Stored:
        """Keep bytes, all or none of them; they last once this returns.

        Args:
            key_id: whose they are.
            kind: what they are, for `delete_of` and `sizes`.
            data: the bytes, or their pieces as they come, of any size.
            lifetime: seconds until they are deleted.

        Raises:
            ServiceUnavailable: they cannot be written: the disk is full, the database does not answer.
        """
        async with self.writer(key_id, kind, lifetime=lifetime) as writer:
            if isinstance(data, bytes):
                await writer.write(data)
            else:
                async for piece in data:
                    await writer.write(piece)
            return await writer.commit()

    def writer(self, key_id: str, kind: str, *, lifetime: float) -> "Writer":
        """The same for a source that pushes; what is not committed when `async with` ends is discarded."""
        return Writer(self, self._blobs, key_id, kind, lifetime)

    async def find(self, content_id: str) -> Stored:
        """What is known of a content.

        Raises:
            ContentGone: it was deleted, or is past its end.
        """
        found = await self._store.read(_find, content_id)
        if found is None or found.expires_at <= self._milliseconds():
            raise ContentGone(content_id)
        return found

    async def pieces(self, content_id: str) -> AsyncIterator[bytes]:
        """The bytes, piece by piece. Nothing is held open meanwhile.

        Raises:
            ContentGone: it was deleted, also while it is read, or is past its end.
        """
        size, sequence = (await self.find(content_id)).size, 0
        while size > 0:
            piece = await self._blobs.piece(content_id, sequence)
            if piece is None:
                raise ContentGone(content_id)
            yield piece
            size -= len(piece)
            sequence += 1

    async def read(self, content_id: str) -> bytes:
        """The whole of a content that is small.

        Raises:
            ContentGone: as `pieces`.
        """
        return b"".join([piece async for piece in self.pieces(content_id)])

    async def delete(self, *content_ids: str) -> None:
        """Delete contents; those that are gone are no error.

        Raises:
            ServiceUnavailable: the database cannot be written.
        """
        # The rows first: what has none is never served, and `expire` removes bytes that a crash leaves here.
        await self._store.write(_delete, content_ids)
        await self._blobs.delete(content_ids)

    async def delete_of(self, key_id: str, kind: str | None = None) -> int:
        """Delete all contents of a key, or those of one kind; returns how many.

        Raises:
            ServiceUnavailable: the database cannot be written.
        """
        wanted = contents.c.key_id == key_id
        return await self._delete_where(wanted if kind is None else wanted & (contents.c.kind == kind))

    async def expire(self) -> int:
        """Delete what is past its end, and what a process that died has left half-written; returns how many.

        Raises:
            ServiceUnavailable: the database cannot be written.
        """
        deleted = await self._delete_where(contents.c.expires_at <= self._milliseconds())
        deleted += await self._blobs.sweep()
        self.kept = await self.sizes()
        return deleted

    async def sizes(self) -> Mapping[str, int]:
        """Bytes that are kept, by kind."""
        return await self._store.read(_sizes)

    async def kept_for(self, key_id: str) -> list[tuple[str, int, int, int]]:
        """What is kept for a key: kind, how many, bytes, when the last goes (milliseconds since 1970)."""
        return await self._store.read(_kept_for, key_id)

    async def enter(self, stored: Stored) -> None:
        """Make written bytes a content. For `Writer` alone."""
        await self._store.write(_insert, stored)

    def begin(self, key_id: str, kind: str, lifetime: float) -> Stored:
        """A content that is yet to be written. For `Writer` alone."""
        now = self._milliseconds()
        return Stored(f"cnt_{secrets.token_hex(16)}", key_id, kind, 0, now, now + int(lifetime * 1000))

    async def _delete_where(self, condition: Any) -> int:
        deleted = 0
        while found := await self._store.read(_ids, condition):
            await self.delete(*found)
            deleted += len(found)
        return deleted

    def _milliseconds(self) -> int:
        return int(self._now() * 1000)


class Writer:
    """Takes a content in piece by piece. Made by `Content.writer`.

    Attributes:
        size: bytes taken so far.
    """

    def __init__(self, content: Content, blobs: Blobs, key_id: str, kind: str, lifetime: float) -> None:
        self._content = content
        self._blobs = blobs
        self._stored = content.begin(key_id, kind, lifetime)
        self._pending: list[bytes] = []
        self._waiting = 0
        self._pieces = 0
        self._done = False
        self.size = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._done:
            await self.discard()

    async def write(self, data: bytes) -> None:
        """Take bytes in.

        Raises:
            ServiceUnavailable: they cannot be written; the content is discarded.
        """
        self._pending.append(data)
        self._waiting += len(data)
        self.size += len(data)
        if self._waiting >= PIECE:
            joined = b"".join(self._pending)
            whole = len(joined) - len(joined) % PIECE
            for start in range(0, whole, PIECE):
                await self._append(joined[start : start + PIECE])
            self._pending, self._waiting = [joined[whole:]], len(joined) - whole

    async def commit(self) -> Stored:
        """All is taken in: keep it. It lasts once this returns.

        Raises:
            ServiceUnavailable: it cannot be written; the content is discarded.
        """
        if self._waiting:
            await self._append(b"".join(self._pending))
        begun = self._stored
        stored = Stored(begun.id, begun.key_id, begun.kind, self.size, begun.created_at, begun.expires_at)
        try:
            if self._pieces:
                await self._blobs.finish(stored.id)
        except OSError as fault:
            raise _unwritable(fault) from fault
        await self._content.enter(stored)
        self._done = True
        return stored

    async def discard(self) -> None:
        """Drop what was taken in."""
        self._done = True
        self._pending = []
        if not self._pieces:
            return
        try:
            await self._blobs.delete([self._stored.id])
        except (OSError, ServiceUnavailable):
            log.exception("Half a content is left for the sweep", extra={"content": self._stored.id})

    async def _append(self, piece: bytes) -> None:
        sequence, self._pieces = self._pieces, self._pieces + 1
        try:
            await self._blobs.append(self._stored.id, sequence, piece)
        except OSError as fault:
            raise _unwritable(fault) from fault


def _unwritable(fault: OSError) -> ServiceUnavailable:
    log.error("Content cannot be written: %s", fault)
    return ServiceUnavailable(f"the gateway cannot store this now: {fault.strerror}", retry_after=60)


def _insert(session: Session, stored: Stored) -> None:
    if session.retried and _find(session.connection, stored.id) is not None:
        return  # the former attempt was committed after all
    session.connection.execute(
        contents.insert().values({name: getattr(stored, name) for name in Stored.__slots__})
    )


def _find(connection: Connection, content_id: str) -> Stored | None:
    row = connection.execute(select(contents).where(contents.c.id == content_id)).first()
    return None if row is None else Stored(**row._mapping)


def _delete(session: Session, content_ids: Sequence[str]) -> None:
    session.connection.execute(delete(contents).where(contents.c.id.in_(content_ids)))


def _ids(connection: Connection, condition: Any) -> list[str]:
    return list(connection.execute(select(contents.c.id).where(condition).limit(AT_ONCE)).scalars())


def _sizes(connection: Connection) -> dict[str, int]:
    sums = select(contents.c.kind, func.sum(contents.c.size)).group_by(contents.c.kind)
    return {kind: int(size) for kind, size in connection.execute(sums)}


def _kept_for(connection: Connection, key_id: str) -> list[tuple[str, int, int, int]]:
    kinds = (
        select(contents.c.kind, func.count(), func.sum(contents.c.size), func.max(contents.c.expires_at))
        .where(contents.c.key_id == key_id)
        .group_by(contents.c.kind)
        .order_by(contents.c.kind)
    )
    return [(kind, items, int(size), last) for kind, items, size, last in connection.execute(kinds)]
