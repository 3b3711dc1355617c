"""A mistyped DATA_DIR: what looks at a database makes none, and says where it has looked."""

from pathlib import Path

import pytest

from gateway import cli
from gateway.settings import VARIABLES

COMMANDS = (
    ["usage"],
    ["usage", "export", "-"],
    ["audit", "verify"],
    ["audit", "list"],
    ["keys", "list"],
    ["keys", "show", "kitchen"],
    ["keys", "update", "kitchen", "--concurrency", "4"],
    ["keys", "rotate", "kitchen"],
    ["keys", "revoke", "kitchen"],
    ["verify"],
)


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "env"
    path.write_text(f"UPSTREAM=sandbox\nDATA_DIR={tmp_path / 'dtaa'}\n")
    return path


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_nothing_is_made(
    env_file: Path, tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--env-file", str(env_file), *command]) == 1

    database = tmp_path / "dtaa" / "gateway.db"
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"there is no database at {database}: is DATA_DIR the one of the server?\n")
    assert not database.parent.exists()


def test_a_database_elsewhere_is_looked_for_there(
    env_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with env_file.open("a") as file:
        file.write(f"DATABASE_URL=sqlite:///{tmp_path}/other.db\n")

    assert cli.main(["--env-file", str(env_file), "usage"]) == 1
    assert f"there is no database at {tmp_path}/other.db: " in capsys.readouterr().err

    with env_file.open("a") as file:
        file.write("DATABASE_URL=sqlite://\n")
    assert cli.main(["--env-file", str(env_file), "usage"]) == 1
    assert "in memory" in capsys.readouterr().err
