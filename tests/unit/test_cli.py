"""The command line: what it prints, where, and with which exit code."""

import argparse
import errno
import json
import os
import re
from contextlib import closing
from pathlib import Path

import pytest

from gateway import __version__, audit, cli
from gateway.opening import open_store
from gateway.prices import PriceTable
from gateway.settings import NAMES, load


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An env file that is the only source of settings, with a secret to look for."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "good.env"
    path.write_text("ANTHROPIC_API_KEY=canary\nPORT=9000\nCORS_ORIGINS=https://a.example,https://b.example\n")
    return path


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"

    assert cli.main(["version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"version": __version__}


def test_help_lists_the_commands_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])

    assert ended.value.code == 0
    shown = capsys.readouterr().out
    groups = re.findall(r"^([a-z, ]+):\n((?:    \S.*\n)+)", shown, re.MULTILINE)
    assert {title: [line.split()[0] for line in lines.splitlines()] for title, lines in groups} == {
        "serve": ["serve", "sandbox", "healthcheck"],
        "keys, cost, batches": ["keys", "usage", "batch", "admin-key"],
        "care": ["check-config", "backup", "restore", "verify", "audit", "version"],
    }
    assert max(map(len, shown.splitlines())) <= 100


def test_the_page_tells_of_every_command() -> None:
    page = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    told = {word.split()[0] for row in rows for word in re.findall(r"`([^`]+)`", row)[:1]} | {
        "restore",
        "verify",
    }

    parser = cli._parser()
    (commands,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    assert told == set(commands.choices)


@pytest.mark.parametrize(
    "arguments",
    [
        ["serv"],
        ["--port", "1"],
        ["version", "now"],
        ["check-config", "--yaml"],
        ["audit", "list", "--limit", "-1"],
        ["audit", "list", "--limit", "0"],
        ["audit", "list", "--limit", f"{10**19}"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)

    assert ended.value.code == 2
    assert "python main.py" in capsys.readouterr().err


def test_check_config_prints_what_an_env_file_would_hold(
    env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--env-file", str(env_file), "check-config"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(NAMES)
    assert "PORT=9000" in lines
    assert "METRICS_PUBLIC=false" in lines
    assert "METRICS_KEY=" in lines
    assert "CORS_ORIGINS=https://a.example,https://b.example" in lines
    assert not any("canary" in line for line in lines)


def test_check_config_as_json(env_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--env-file", str(env_file), "check-config", "--json"]) == 0

    printed = json.loads(capsys.readouterr().out)
    assert printed["unchecked_prices"] == PriceTable.load().unchecked
    settings = printed["settings"]
    assert settings.keys() == NAMES
    assert (settings["PORT"], settings["ANTHROPIC_API_KEY"]) == (9000, "**********")


def test_check_config_names_prices_that_nobody_has_checked(
    env_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(
        'version = "own"\n[[model]]\nids = ["claude-of-the-house"]\nfrom = 2026-01-01\n'
        'input = "1"\noutput = "5"\nsource = "house"\nchecked = false\n'
        '[sources]\nhouse = "the contract in the drawer"\n'
    )
    with env_file.open("a") as file:
        file.write(f"CONFIG_DIR={tmp_path}\n")

    assert cli.main(["--env-file", str(env_file), "check-config"]) == 0
    assert "claude-of-the-house" in capsys.readouterr().err

    prices.write_text("[[model]]\n")
    assert cli.main(["--env-file", str(env_file), "check-config"]) == 1
    assert capsys.readouterr().err.startswith(f"CONFIG_DIR: {prices}: ")


def test_faults_go_to_stderr_all_of_them(env_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env_file.write_text("PORT=x\nWORKERS=0\n")
    expected = [
        "ANTHROPIC_API_KEY: is required, unless UPSTREAM=sandbox",
        "PORT: must be a valid integer, not x",
        "WORKERS: must be greater than or equal to 1, not 0",
    ]

    for command in ([], ["serve"], ["check-config"]):
        assert cli.main(["--env-file", str(env_file), *command]) == 1
        out, err = capsys.readouterr()
        assert (out, err.splitlines()) == ("", expected)

    assert cli.main(["--env-file", str(env_file), "check-config", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"faults": expected}


@pytest.mark.parametrize(
    "command",
    [
        ["keys", "create", "kitchen"],
        ["keys", "list"],
        ["usage"],
        ["usage", "export", "-"],
        ["audit", "list"],
        ["backup", "data/backups/monday.tar"],
        ["verify"],
        ["verify", "data/backups/monday.tar"],
        ["restore", "--force", "data/backups/monday.tar"],
        ["admin-key"],
    ],
    ids=" ".join,
)
def test_what_never_calls_anthropic_needs_no_key_of_it(
    command: list[str], env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    env_file.write_text("")
    assert cli.main(["--env-file", str(env_file), "keys", "create", "cellar"]) == 0
    assert cli.main(["--env-file", str(env_file), "backup", "data/backups/monday.tar"]) == 0
    if command[0] == "backup":
        command = [*command, "--force"]

    assert cli.main(["--env-file", str(env_file), *command]) == 0


def test_an_env_file_that_is_named_must_exist(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UPSTREAM", "sandbox")

    for name, fault in (("typo.env", "no such file"), (".", "is a folder, no file of settings")):
        for command in (["check-config"], ["keys", "list"], ["serve"]):
            assert cli.main(["--env-file", name, *command]) == 1
            assert capsys.readouterr() == ("", f"{name}: {fault}\n")

    assert cli.main(["check-config"]) == 0
    env_file.rename(".env")
    assert cli.main(["check-config"]) == 0
    assert "PORT=9000" in capsys.readouterr().out


def test_an_admin_key_that_is_set_is_not_replaced(env_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env_file.write_text(f"UPSTREAM=sandbox\nGATEWAY_ADMIN_KEY={'canary' * 6}\n")

    assert cli.main(["--env-file", str(env_file), "admin-key"]) == 1

    out, err = capsys.readouterr()
    assert (out, err) == ("", "The admin key is set by GATEWAY_ADMIN_KEY: change it there.\n")


def test_a_lost_admin_key_is_replaced_and_not_shown(
    env_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env_file.write_text(f"UPSTREAM=sandbox\nDATA_DIR={tmp_path / 'data'}\n")
    assert cli.main(["--env-file", str(env_file), "admin-key"]) == 1
    assert "is DATA_DIR the one of the server?" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
    open_store(load(env_file=env_file)).close_now()
    keys = []
    for json_option in ([], ["--json"]):
        assert cli.main(["--env-file", str(env_file), "admin-key", *json_option]) == 0
        out = capsys.readouterr().out
        path = tmp_path / "data" / "admin-key"
        assert (json.loads(out)["path"] if json_option else out.split()[-1]) == str(path)
        keys.append(path.read_text().strip())
        assert keys[-1] not in out

    assert keys[0] != keys[1]
    store = open_store(load(env_file=env_file))
    recorded = store.read_now(audit.latest, 3)
    with closing(store.engine.raw_connection()) as connection:
        connection.cursor().execute("UPDATE alembic_version SET version_num = '9999'")
    store.close_now()
    assert [(row["actor"], row["action"]) for row in recorded] == [("command", "replace_admin_key")] * 2
    assert cli.main(["--env-file", str(env_file), "admin-key"]) == 1
    assert "written by a newer version" in capsys.readouterr().err
    assert path.read_text().strip() == keys[1], "what cannot be recorded is not done"


def test_a_read_only_folder_is_not_given_to_another_user(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    env_file.write_text(f"UPSTREAM=sandbox\nDATA_DIR={tmp_path}\n")

    assert cli.main(["--env-file", str(env_file)]) == 1
    expected = f"DATA_DIR: {tmp_path} is read-only. Mount it otherwise, or name another folder\n"
    assert capsys.readouterr().err == expected


def test_the_sandbox_takes_its_own_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["sandbox", "--help"])

    assert ended.value.code == 0
    assert "--port" in capsys.readouterr().out
