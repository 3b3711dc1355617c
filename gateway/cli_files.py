"""Files that commands write."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def complete_or_absent(target: Path) -> Iterator[BinaryIO]:
    """A file that takes its name when it is complete, in the place of one that has it already.

    Its owner alone may read it. What was interrupted leaves nothing behind.

    Raises:
        OSError: the folder cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    except OSError as error:
        error.filename = str(target.parent)  # not a name that nobody has chosen
        raise
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
