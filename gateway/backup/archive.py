"""The archive: a tar file (POSIX.1-2001, pax) whose last member says what must be in it.

The manifest comes last because it can: everything is written, and read, in one pass, through a pipe as well,
and an archive that was cut off anywhere has none.
"""

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Self

from gateway.faults import OperatorFault

FORMAT = 1
MANIFEST = "manifest.json"
DATA = "data/"
DATABASE = f"{DATA}gateway.db"
PRICES = "config/prices.toml"

LARGEST_MANIFEST = 256 << 20
"""Bytes: some hundred for each file. What claims to be larger is none of ours."""

PIECE = 1 << 20

_NAME = re.compile(r"(?:data|config)(?:/[^./\x00][^/\x00]*)+")
"""No part of a name begins with a dot: nothing hidden, and no way out of the folder."""

Progress = Callable[[int], None]
"""Told of the bytes that are done since it was told last."""


class ArchiveError(OperatorFault):
    """An archive is damaged, not whole, or none of ours."""


@dataclass(frozen=True, slots=True)
class File:
    """A member of an archive: its size in bytes and its SHA-256."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive holds.

    Attributes:
        version: of the gateway that made it.
        schema: the revision of the database's schema.
        created_at: RFC 3339, UTC.
        rows: rows of each table.
        files: every other member by its name.
    """

    version: str
    schema: str
    created_at: str
    rows: Mapping[str, int]
    files: Mapping[str, File]

    def encode(self) -> bytes:
        """The manifest as it stands in the archive."""
        return (json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it from an archive.

        Raises:
            ArchiveError: it is none, or that of a later format.
        """
        try:
            fields: dict[str, Any] = json.loads(data)
            if fields.pop("format") != FORMAT:
                raise ArchiveError("the archive was made by a newer version of the gateway")
            fields["files"] = {name: File(**file) for name, file in fields["files"].items()}
            return cls(**fields)
        except (ValueError, TypeError, KeyError, AttributeError) as fault:
            raise ArchiveError("the archive's manifest cannot be read") from fault


class Writer:
    """Writes an archive, one member after the other.

    Args:
        stream: where to; a pipe will do.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._tar = tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - `close`
        self.files: dict[str, File] = {}

    def add(self, name: str, file: BinaryIO, size: int, modified: float, progress: Progress) -> None:
        """Add a file.

        Args:
            name: its name in the archive.
            file: open at its beginning.
            size: how many of its bytes to take.
            modified: seconds since 1970.
            progress: told of the bytes that are written.

        Raises:
            OSError: the file has become shorter than that.
        """
        reader = _Hashing(file, progress)
        self._tar.addfile(_member(name, size, modified), reader)
        self.files[name] = File(size, reader.digest.hexdigest())

    def close(self, manifest: bytes, modified: float) -> None:
        """Write the manifest and the archive's end."""
        self._tar.addfile(_member(MANIFEST, len(manifest), modified), io.BytesIO(manifest))
        self._tar.close()


def read(stream: BinaryIO, folder: Path, wanted: Callable[[str], bool], progress: Progress) -> Manifest:
    """Read a whole archive, hold it to its manifest, and write the wanted members into a folder.

    Args:
        stream: the archive, compressed or not; a pipe will do.
        folder: an empty one.
        wanted: whether to write a member, by its name.
        progress: told of the bytes of members that are read.

    Raises:
        ArchiveError: it is damaged, not whole, or none of ours. What is in the folder then is worth nothing.
    """
    found: dict[str, File] = {}
    manifest: Manifest | None = None
    try:
        with tarfile.open(fileobj=stream, mode="r|*") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isreg() else None
                if content is None or manifest is not None or member.name in found:
                    raise ArchiveError(f"the archive has a member that no backup has: {member.name}")
                if member.name == MANIFEST and member.size <= LARGEST_MANIFEST:
                    manifest = Manifest.decode(content.read())
                    continue
                if not _NAME.fullmatch(member.name):
                    raise ArchiveError(f"the archive has a member that no backup has: {member.name}")
                target = folder / member.name if wanted(member.name) else None
                found[member.name] = _take(content, target, progress)
    except (tarfile.TarError, EOFError) as fault:
        raise ArchiveError(f"the archive is damaged or no archive at all: {fault}") from fault
    if manifest is None:
        raise ArchiveError("the archive ends without its manifest: it was not written to its end")
    for name in sorted(manifest.files.keys() | found.keys()):
        if manifest.files.get(name) != found.get(name):
            raise ArchiveError(f"the archive is damaged: {name} is not what its manifest says")
    if DATABASE not in found:
        raise ArchiveError("the archive holds no database")
    return manifest


class _Hashing(io.RawIOBase):
    """A file that is hashed while it is read."""

    def __init__(self, file: BinaryIO, progress: Progress) -> None:
        self.digest = hashlib.sha256()
        self._file = file
        self._progress = progress

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        self._progress(len(data))
        return data


def _take(content: IO[bytes], target: Path | None, progress: Progress) -> File:
    digest, size = hashlib.sha256(), 0
    if target is not None:
        _make_private(target.parent)
    with _sink(target) as sink:
        while piece := content.read(PIECE):
            digest.update(piece)
            size += len(piece)
            sink.write(piece)
            progress(len(piece))
    return File(size, digest.hexdigest())


def _sink(target: Path | None) -> BinaryIO:
    return _Nowhere() if target is None else create_private(target)


class _Nowhere(io.BytesIO):
    """Takes everything and keeps nothing."""

    def write(self, data: Any, /) -> int:
        return len(data)


def create_private(path: Path) -> BinaryIO:
    """A new file that its owner alone may read.

    Raises:
        FileExistsError: there is one already.
    """
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _make_private(folder: Path) -> None:
    if not folder.exists():  # `mkdir` would give its mode to the last of several new folders alone
        _make_private(folder.parent)
        folder.mkdir(mode=0o700)


def _member(name: str, size: int, modified: float) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, int(modified), 0o600
    return member
