"""tools/venv.sh takes the first Python that really runs, and says what is missing when none does."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "venv.sh"

BROKEN = "exit 127"  # a version manager's shim for a version that is not installed
OLD = "exit 1"
BARE = 'case "$2" in *ensurepip*) exit 1;; esac'
GOOD = 'if [ "$1" = -m ]; then /bin/mkdir .venv; echo "$0" > .venv/made-by; fi'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    return tmp_path


def put(folder: Path, name: str, script: str) -> None:
    program = folder / "bin" / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def run(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", SCRIPT],
        cwd=folder,
        env={"PATH": str(folder / "bin"), "HOME": str(folder)} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_first_that_runs_is_taken(folder: Path) -> None:
    put(folder, "python3.13", BROKEN)
    put(folder, "python3.12", OLD)
    put(folder, "python3.11", BARE)
    put(folder, "python3", GOOD)

    assert run(folder).returncode == 0
    assert (folder / ".venv" / "made-by").read_text().strip() == str(folder / "bin" / "python3")


def test_a_named_one_comes_first(folder: Path) -> None:
    put(folder, "python3", GOOD)
    put(folder, "mine", GOOD)

    assert run(folder, BASE_PYTHON="mine").returncode == 0
    assert (folder / ".venv" / "made-by").read_text().strip() == str(folder / "bin" / "mine")


def test_without_the_venv_module_the_package_is_named(folder: Path) -> None:
    put(folder, "python3", BARE)

    ended = run(folder)

    assert ended.returncode == 1
    assert "python3 cannot make virtual environments" in ended.stderr
    assert "apt-get install python3-venv" in ended.stderr


def test_without_any_python_the_need_is_named(folder: Path) -> None:
    put(folder, "python3", OLD)

    ended = run(folder)

    assert ended.returncode == 1
    assert "No Python 3.11 or newer was found" in ended.stderr


def test_a_working_environment_is_kept(folder: Path) -> None:
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)

    put(folder, "python3", GOOD)

    assert run(folder).returncode == 0
    assert not (folder / ".venv" / "made-by").exists()
