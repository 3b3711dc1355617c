"""Look at start whether the folders that must be written can be: a container's most frequent fault."""

import errno
import os
import tempfile
from pathlib import Path

from gateway.settings import Settings, SettingsError


def check_writable(settings: Settings) -> None:
    """Make the folders that are missing, and write to each.

    Raises:
        SettingsError: with a line for each folder that cannot be written: which, by whom, and how to mend it.
    """
    folders = {"DATA_DIR": settings.data_dir, "LOG_DIR": settings.log_dir}
    faults = [fault for name, folder in folders.items() if folder and (fault := _fault(name, folder))]
    if faults:
        raise SettingsError(faults)


def _fault(name: str, folder: Path) -> str | None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        files = (path for path in folder.iterdir() if path.is_file())  # `lost+found` is no fault
        locked = next((path for path in files if not os.access(path, os.W_OK)), None)
    except OSError as error:
        if error.errno == errno.EROFS:
            return f"{name}: {folder.resolve()} is read-only. Mount it otherwise, or name another folder"
        return f"{name}: {folder.resolve()} cannot be written by {_us()}: {error.strerror}. {_fix(folder)}"
    if locked is not None:  # what an earlier start as another user has left
        return (
            f"{name}: {locked.resolve()} cannot be written by {_us()}: it is another user's. {_fix(folder)}"
        )
    return None


def _us() -> str:
    return f"uid {os.geteuid()}, gid {os.getegid()}"


def _fix(folder: Path) -> str:
    ours = f"{os.geteuid()}:{os.getegid()}"
    return (
        f"Give it to that user: chown -R {ours} {folder.resolve()} (in a container: the folder or volume that"
        " is mounted there). Or run as its owner: PUID and PGID in Compose"
    )
