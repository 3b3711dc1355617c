"""Secrets, and the file that holds the admin key."""

import contextlib
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "sk-gw-"
MIN_ADMIN_KEY_LENGTH = 32


def generate_secret() -> str:
    """A new secret: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(secret: str) -> bytes:
    """What is stored of a secret: its SHA-256."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def admin_key(data_dir: Path) -> tuple[Path, bool]:
    """The file with the admin key, made at first start. Processes that start together agree on one.

    Args:
        data_dir: where it stands.

    Returns:
        The path, and whether the file is new.

    Raises:
        OSError: it cannot be written.
        ValueError: it holds no key.
    """
    path = data_dir / "admin-key"
    made = False
    if not path.exists():
        with _secret_file(data_dir) as draft, contextlib.suppress(FileExistsError):
            os.link(draft, path)  # unlike a rename, it never takes the place of another process's key
            made = True
    read_admin_key(path)
    return path, made


def replace_admin_key(data_dir: Path) -> Path:
    """Put a new admin key in place of the old one; running servers take it up by themselves.

    Raises:
        OSError: it cannot be written.
    """
    path = data_dir / "admin-key"
    with _secret_file(data_dir) as draft:
        draft.replace(path)
    return path


@contextlib.contextmanager
def _secret_file(folder: Path) -> Iterator[Path]:
    """A new secret in a file of its own, readable by its owner alone, gone at the end unless it was moved."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".admin-key-", dir=folder)
    path = Path(name)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(generate_secret() + "\n")
            file.flush()
            os.fsync(file.fileno())
        yield path
    finally:
        path.unlink(missing_ok=True)


def read_admin_key(path: Path) -> str:
    """Read the admin key from its file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too short.
    """
    secret = path.read_text("utf-8").strip()
    if len(secret) < MIN_ADMIN_KEY_LENGTH:
        raise ValueError(f"{path} holds no key of at least {MIN_ADMIN_KEY_LENGTH} characters")
    return secret
