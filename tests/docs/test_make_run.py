"""What `make run` prints works as pasted, at every start, and a second instance says what is in its way."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.settings import VARIABLES

ROOT = Path(__file__).parents[2]


def command(state: Path) -> list[str]:
    return [sys.executable, "-m", "tools.demo", "--state", str(state)]


def environment(**variables: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in VARIABLES} | variables


@contextmanager
def demo(state: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command(state), cwd=ROOT, env=environment(**variables), stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)


def pasted(process: subprocess.Popen[str]) -> str:
    """The first line that holds `curl `; all that a user pastes."""
    assert process.stdout
    return next(line for line in process.stdout if "curl " in line)


def test_each_start_prints_a_line_that_works(tmp_path: Path) -> None:
    lines = []
    for _ in range(2):
        with demo(
            tmp_path, PORT="0", ANTHROPIC_BASE_URL="http://127.0.0.1:1", UPSTREAM="anthropic"
        ) as process:
            lines.append(pasted(process))
            answer = subprocess.run(lines[-1], shell=True, capture_output=True, check=True, timeout=30)
        assert json.loads(answer.stdout)["success"] is True
        assert process.returncode == 0

    first, second = (re.sub(r":\d+/", "/", line) for line in lines)
    assert first == second
    assert (tmp_path / "admin-key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("port", "reason"), [("taken", "Address already in use"), ("http", "invalid literal")]
)
def test_a_port_that_cannot_be_used_is_named(tmp_path: Path, port: str, reason: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1]) if port == "taken" else port
        ended = subprocess.run(
            command(tmp_path),
            cwd=ROOT,
            env=environment(PORT=port),
            capture_output=True,
            text=True,
            check=False,
        )

    assert ended.returncode == 1
    assert port in ended.stderr
    assert reason in ended.stderr
    assert "PORT=8765 make run" in ended.stderr
