"""The first steps: a Python without the packages is told what to do, and making .venv is no silent minute."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, folder: Path = ROOT) -> tuple[int, str, str]:
    ended = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"]},  # nothing of a `make test` around it
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_a_python_without_the_packages() -> None:
    code, out, err = run(sys.executable, "-S", "main.py", "version")

    assert (code, out) == (1, "")
    assert err.startswith("No module named ")
    assert err.endswith(". Run `make install` once, then `.venv/bin/python main.py …`\n")
    assert err.count("\n") == 1


def test_a_fault_of_our_own_keeps_its_traceback(tmp_path: Path) -> None:
    shutil.copy(ROOT / "main.py", tmp_path)
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / "__init__.py").touch()

    code, _, err = run(sys.executable, "main.py", folder=tmp_path)

    assert code == 1
    assert "Traceback" in err


def test_make_says_that_it_makes_an_environment(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.txt", "requirements-dev.txt"):
        (tmp_path / name).touch()
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "venv.sh").write_text("mkdir -p .venv/bin; ln -s /bin/true .venv/bin/python")

    code, _, err = run("make", "install", folder=tmp_path)

    assert code == 0
    made, added = err.splitlines()
    assert made.startswith("Making .venv; this takes ")
    assert added.startswith("Adding to .venv ")
    assert run("make", "install", folder=tmp_path)[2] == ""
