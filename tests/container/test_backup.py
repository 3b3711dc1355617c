"""Backup and restore as docs/backup.md writes them for Compose: through a pipe, into an empty volume."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container import compose
from tests.container.compose import Project, call

pytestmark = pytest.mark.container

PAGE = Path(__file__).parents[2] / "docs" / "backup.md"
MESSAGE = {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def project(image: None, tmp_path: Path) -> Iterator[Project]:
    with compose.project(tmp_path, "backup", UPSTREAM="sandbox") as made:
        made.up()
        yield made


def documented() -> list[str]:
    """The page's commands for Compose."""
    lines = r"^docker compose .+monday\.tar$|^docker compose (?:stop|start) gateway$"
    return re.findall(lines, PAGE.read_text(), re.MULTILINE)


def run(project: Project, line: str, folder: Path) -> None:
    """Run a line of the page as a shell would, in this project."""
    words, redirection, file = re.fullmatch(r"(.+?)(?: ([<>]) (\S+))?", line).groups()  # type: ignore[union-attr]
    arguments = project.command(*words.split()[2:])
    with (folder / file if file else Path(os.devnull)).open("wb" if redirection == ">" else "rb") as stream:
        ended = subprocess.run(
            arguments,
            env=project.environment(),
            stdin=stream if redirection == "<" else subprocess.DEVNULL,
            stdout=stream if redirection == ">" else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
            timeout=300,
        )
    assert ended.returncode == 0, ended.stderr.decode()


def requests(project: Project, key: str) -> int:
    status, body = call("GET", f"{project.url}/api/v1/usage", key)
    assert status == 200
    return int(body["data"]["total"]["requests"])


def test_there_and_back(project: Project, tmp_path: Path) -> None:
    backup, stop, restore, start = documented()
    key = project.admin_key()
    assert call("POST", f"{project.url}/api/v1/messages/create", key, MESSAGE)[0] == 200

    run(project, backup, tmp_path)
    assert call("POST", f"{project.url}/api/v1/messages/create", key, MESSAGE)[0] == 200
    assert requests(project, key) == 2
    for line in (stop, restore, start):
        run(project, line, tmp_path)
    project.up()

    assert project.admin_key() == key
    assert requests(project, key) == 1
    verified = project.run("exec", "-T", "gateway", "python", "main.py", "verify")
    assert "WRONG" not in verified.stdout
