"""Other people's clients, installed by themselves; and programs that are run with them."""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from tools import installed
from tools.installed import NotInstalled

RUN_TIMEOUT = 600.0
"""Seconds that end a hang: a compiler that finds nothing compiled takes minutes on a laden machine."""


def node_folder(source: Path) -> Path:
    """A copy of `source`, where its package.json's dependencies are installed with npm."""
    return _or_missing(installed.node_folder, source)


def python_of(source: Path) -> Path:
    """The interpreter of a virtual environment with the requirements.txt of `source`."""
    return _or_missing(installed.python_of, source)


def run(command: Sequence[str | Path], folder: Path, environment: Mapping[str, str]) -> str:
    """The output of a program that ends with 0 when all went well; fails with it when it does not."""
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
    return ended.stdout


def missing(reason: NotInstalled) -> NoReturn:
    """In CI a program that cannot be had is a failure, elsewhere (no network, no Node.js) a skip."""
    if os.environ.get("CI"):
        pytest.fail(str(reason))
    pytest.skip(str(reason))


def _or_missing(install: Callable[[Path], Path], source: Path) -> Path:
    try:
        return install(source)
    except NotInstalled as reason:
        missing(reason)
