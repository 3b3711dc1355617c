"""Files that commands write."""

import contextlib
import errno
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

PIPE = "-"
"""What stands for stdout, and for stdin, in a file's place."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextlib.contextmanager
def output(target: str) -> Iterator[BinaryIO]:
    """stdout for `-`, else a file that is complete or absent.

    Raises:
        OSError: the folder cannot be written.
    """
    if target != PIPE:
        with complete_or_absent(Path(target)) as file:
            yield file
        return
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


@contextlib.contextmanager
def complete_or_absent(target: Path) -> Iterator[BinaryIO]:
    """A file that takes its name when it is complete, in the place of one that has it already.

    Its owner alone may read it. What was interrupted leaves nothing behind. A link stays one; a device or a
    pipe, which cannot be replaced, takes what is written as it comes.

    Raises:
        OSError: it is a folder, or its own folder cannot be written, or the disk is full.
    """
    if target.exists() and not target.is_file():
        with target.open("wb") as file:
            yield file
        return
    target = target.resolve()
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    except OSError as error:
        error.filename = str(target.parent.absolute())  # not a name that nobody has chosen
        raise
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except OSError as error:
        if error.errno in _FULL and error.filename is None:  # a write does not name its file
            error.filename = str(target.parent.absolute())
        raise
    finally:
        draft.unlink(missing_ok=True)
