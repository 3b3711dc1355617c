"""Bytes that are too many for memory: files in a temporary folder that goes with the process."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from sandbox.errors import ApiError

_CHUNK = 256 * 1024


class Blob:
    """One stored sequence of bytes: written once, then read as often as asked."""

    def __init__(self, storage: "Storage", path: Path) -> None:
        self.size = 0
        self._storage = storage
        self._path = path
        self._file: BinaryIO | None = path.open("wb")

    def write(self, data: bytes) -> None:
        """Appends; raises `ApiError` 400 when the storage is full."""
        if self._file is None:
            raise ValueError("the blob is closed")
        self._storage.reserve(len(data))
        self.size += len(data)
        self._file.write(data)

    def close(self) -> None:
        """Ends the writing."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def delete(self) -> None:
        """Frees the space."""
        self.close()
        self._path.unlink(missing_ok=True)
        self._storage.release(self.size)

    def open(self) -> BinaryIO:
        """The bytes, to be read and closed by the caller."""
        self.close()
        return self._path.open("rb")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes, a little at a time."""
        with self.open() as file:
            while chunk := file.read(_CHUNK):
                yield chunk


class Storage:
    """Makes blobs, up to `limit` bytes of them all."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._count = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def create(self) -> Blob:
        """A new blob, empty and open for writing."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="sandbox-")
        self._count += 1
        return Blob(self, Path(self._folder.name, str(self._count)))

    def reserve(self, size: int) -> None:
        """Takes space; raises `ApiError` 400 when there is not enough."""
        if self._used + size > self._limit:
            raise ApiError(400, "The storage quota is used up", error_code="storage_quota_exceeded")
        self._used += size

    def release(self, size: int) -> None:
        """Gives space back."""
        self._used -= size

    def close(self) -> None:
        """Removes all blobs."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
