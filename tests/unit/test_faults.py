"""What the operator has to mend is told in one line, by every command, without a traceback."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import cli
from gateway.faults import of_file
from gateway.settings import VARIABLES

ROOT = Path(__file__).parents[2]
COMMANDS = (
    ["keys", "list"],
    ["usage"],
    ["audit", "verify"],
    ["audit", "list"],
    ["verify"],
    ["backup", "-"],
)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "data"
    monkeypatch.setenv("UPSTREAM", "sandbox")
    monkeypatch.setenv("DATA_DIR", str(folder))
    monkeypatch.setenv("CONFIG_DIR", str(tmp_path / "config"))
    return folder


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a command ends with."""
    assert cli.main(["--env-file", os.devnull, *arguments]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_database_that_is_none(data: Path, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    data.mkdir()
    (data / "gateway.db").write_text("this is no database, however long one makes it" * 100)

    line = told(capsys, *command)

    assert "gateway.db" in line
    assert "not a database" in line


@pytest.mark.parametrize("command", [*COMMANDS[:4], ["admin-key"]], ids=" ".join)
def test_a_data_folder_that_is_none(
    data: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    data.touch()

    assert str(data) in told(capsys, *command)


def test_prices_that_cannot_be_read(data: Path, tmp_path: Path) -> None:
    """The server itself; its log lines go to stdout, the reason to stderr."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "prices.toml").write_text("[[model]]\n")

    ended = subprocess.run(
        [sys.executable, "main.py", "--env-file", os.devnull],
        cwd=ROOT,
        env={**os.environ, "PORT": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    assert ended.stderr.startswith(str(tmp_path / "config" / "prices.toml"))
    assert ended.stderr.count("\n") == 1
    assert "Traceback" not in ended.stdout


def test_a_database_server_that_is_not_there(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg://gateway:secret@127.0.0.1:9/gateway")

    for command in COMMANDS[:5]:
        line = told(capsys, *command)
        assert "127.0.0.1" in line
        assert "secret" not in line
        assert "sqlalche" not in line, "a link that is none of the operator's"

    for url in (
        "postgresql+nothing://gateway:secret@127.0.0.1:9/gateway",
        "postgresql+psycopg://db:5432x/gateway",
    ):
        monkeypatch.setenv("DATABASE_URL", url)
        assert "DATABASE_URL" in told(capsys, "usage")


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (
            errno.EACCES,
            f"for uid {os.geteuid()}, gid {os.getegid()}. Give its folder to that user (chown -R ",
        ),
        (errno.EROFS, "what is mounted read-only must be mounted otherwise"),
        (errno.ENOSPC, "Make room on that disk"),
        (errno.ENOENT, "/data/x: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_the_fix(number: int, expected: str) -> None:
    line = of_file(OSError(number, os.strerror(number), "/data/x"))

    assert line is not None
    assert line.startswith(f"/data/x: {os.strerror(number)}")
    assert expected in line


def test_an_error_that_names_no_file_is_not_hidden(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> int:
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")

    assert of_file(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")) is None
    monkeypatch.setattr("gateway.cli.version", fail)
    with pytest.raises(ConnectionResetError):
        cli.main(["version"])


def test_an_interrupted_command(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("gateway.cli.version", interrupt)
    assert cli.main(["version"]) == 130


def test_a_reader_that_has_seen_enough(data: Path) -> None:
    """`python main.py usage | head` ends quietly."""
    program = f"{sys.executable} -E main.py --env-file {os.devnull} version | true"  # -E: stdout is buffered
    ended = subprocess.run(
        ["sh", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.stderr == ""
