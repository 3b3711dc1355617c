"""What the operator has to mend, told in one line instead of a traceback."""

import errno
import os

_RIGHTS = frozenset({errno.EACCES, errno.EPERM})


class OperatorFault(Exception):
    """The gateway cannot do what it was told. The message says why and what to do; it holds no secret."""


def of_file(error: OSError) -> str | None:
    """The line for a file or folder that cannot be used: which, why, by whom, and what to do about it.

    Returns:
        None where the error names no file: that one is no matter of the operator's files.
    """
    if error.filename is None or error.strerror is None:
        return None
    told = f"{os.fsdecode(error.filename)}: {error.strerror}"
    if error.errno == errno.ENOSPC:
        return f"{told}. Make room on that disk"
    if error.errno == errno.EROFS:
        return (
            f"{told}. Name a place that can be written, or - where a command writes to stdout;"
            " what is mounted read-only must be mounted otherwise"
        )
    if error.errno not in _RIGHTS:
        return told
    ours = f"{os.geteuid()}:{os.getegid()}"
    return (
        f"{told} for uid {os.geteuid()}, gid {os.getegid()}. Give its folder to that user (chown -R {ours}),"
        " or run as its owner"
    )
