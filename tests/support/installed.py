"""Other people's clients: each installed by itself below `.cache`, once for each change of what it needs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.gateway import ROOT

CACHE = ROOT / ".cache"
INSTALL_TIMEOUT = 180.0
RUN_TIMEOUT = 120.0


def node_folder(source: Path) -> Path:
    """A copy of `source`, where its package.json's dependencies are installed with npm."""
    folder = CACHE / source.name
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
    """The interpreter of a virtual environment with the requirements.txt of `source`."""
    folder = CACHE / "venvs" / source.name
    requirements = source / "requirements.txt"
    wanted = f"{sys.version_info[:2]} {requirements.read_text()}"
    python = folder / "bin" / "python"
    if not _is_there(folder, wanted):
        uv = [sys.executable, "-m", "uv", "--quiet"]
        _install([*uv, "venv", "--python", sys.executable, str(folder)], ROOT)
        _install([*uv, "pip", "install", "--python", str(python), "-r", str(requirements)], ROOT)
        _keep(folder, wanted)
    return python


def run(command: Sequence[str | Path], folder: Path, environment: Mapping[str, str]) -> None:
    """Run a program that ends with 0 when all went well; fails with its output when it does not."""
    ended = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
        timeout=RUN_TIMEOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout


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
        _missing(f"{command[0]}: {error}")
    if ended.returncode:
        _missing(f"{' '.join(command)} failed: {ended.stderr[-500:]}")


def _missing(reason: str) -> NoReturn:
    """In CI a client that cannot be had is a failure, elsewhere (no network, no Node.js) a skip."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
