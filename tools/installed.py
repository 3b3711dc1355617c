"""Programs of others: each installed by itself below `.cache`, once for each change of what it needs."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache"
INSTALL_TIMEOUT = 300.0
"""Seconds that one installation may take."""


class NotInstalled(Exception):
    """A package cannot be had: no network, no npm, or no such version."""


def node_folder(source: Path) -> Path:
    """A copy of `source` in which the dependencies of its package.json are installed with npm.

    Raises:
        NotInstalled: npm is missing, or it failed.
    """
    folder = CACHE / "node" / source.relative_to(ROOT)
    wanted = (source / "package.json").read_text()
    if not _is_there(folder, wanted):
        shutil.copytree(source, folder)
        _install(
            ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"], folder
        )
        _keep(folder, wanted)
    shutil.copytree(source, folder, dirs_exist_ok=True)
    return folder


def python_of(source: Path) -> Path:
    """The interpreter of a virtual environment with the requirements.txt of `source`.

    Raises:
        NotInstalled: a package cannot be had.
    """
    folder = CACHE / "venvs" / source.relative_to(ROOT)
    requirements = source / "requirements.txt"
    wanted = f"{sys.version_info[:2]} {requirements.read_text()}"
    python = folder / "bin" / "python"
    if not _is_there(folder, wanted):
        uv = [sys.executable, "-m", "uv", "--quiet"]
        _install([*uv, "venv", "--python", sys.executable, str(folder)], ROOT)
        _install([*uv, "pip", "install", "--python", str(python), "-r", str(requirements)], ROOT)
        _keep(folder, wanted)
    return python


def _is_there(folder: Path, wanted: str) -> bool:
    """Whether it was installed whole; what is left of another or of half an installation is removed."""
    mark = folder / ".installed"
    if mark.exists() and mark.read_text() == wanted:
        return True
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return False


def _keep(folder: Path, wanted: str) -> None:
    (folder / ".installed").write_text(wanted)


def _install(command: Sequence[str], folder: Path) -> None:
    try:
        ended = subprocess.run(
            command, cwd=folder, timeout=INSTALL_TIMEOUT, capture_output=True, text=True, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"{command[0]}: {error}") from None
    if ended.returncode:
        raise NotInstalled(f"{' '.join(command)} failed: {ended.stderr[-500:]}")
