"""`python main.py keys …`: what each command does, prints and returns."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway import cli, cli_keys
from gateway.keys.key import BUDGET, LIMITS
from gateway.settings import NAMES
from gateway.store import Store

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a `keys` command on an empty database; gives exit code, output and errors."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    data = tmp_path / "data"
    data.mkdir()
    Store(f"sqlite:///{data / 'gateway.db'}").close_now()
    env_file = tmp_path / "env"
    env_file.write_text(
        f"UPSTREAM=sandbox\nDATA_DIR={data}\nDEFAULT_CONCURRENCY=4\nDEFAULT_USD_PER_DAY=2.5\n"
    )

    def command(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["--env-file", str(env_file), "keys", *arguments])
        return (code, *capsys.readouterr())

    return command


def told(run: Run, *arguments: str) -> dict[str, Any]:
    code, out, err = run(*arguments, "--json")
    assert (code, err) == (0, "")
    result: dict[str, Any] = json.loads(out)
    return result


def fields(printed: str) -> dict[str, str]:
    return {line.split()[0]: line.split(maxsplit=1)[1] for line in printed.splitlines()}


def test_the_options_are_those_of_a_key() -> None:
    assert [*cli_keys.LIMITS, *cli_keys.BUDGET] == [*LIMITS, *BUDGET]


def test_create_prints_the_secret_once(run: Run) -> None:
    code, out, err = run("create", "kitchen")

    assert (code, err) == (0, "")
    printed = fields(out)
    assert printed["key"].startswith("sk-gw-")
    assert printed["scopes"] == "messages,batches,models,files,skills"
    assert (printed["concurrency"], printed["usd_per_day"], printed["usd_per_month"]) == ("4", "2.5", "none")
    shown = run("show", "kitchen")[1]
    assert shown == out[: out.index("\nkey ")] + "\n"
    assert told(run, "show", printed["id"])["name"] == "kitchen"


def test_create_takes_every_field(run: Run) -> None:
    numbers = {name: number for number, name in enumerate(LIMITS, 10)}
    options = [
        part for name, value in numbers.items() for part in (f"--{name.replace('_', '-')}", str(value))
    ]
    options += ["--scopes", "models, messages", "--models", "claude-haiku-*,claude-sonnet-5"]
    options += ["--usd-per-day", "0.1", "--usd-per-month", "none", "--expires-at", "2999-01-01T00:00:00Z"]

    made = told(run, "create", "kitchen", *options)

    assert made["limits"] == numbers
    assert made["budget"] == {"usd_per_day": 0.1, "usd_per_month": None}
    assert made["scopes"] == ["messages", "models"]
    assert made["models"] == ["claude-haiku-*", "claude-sonnet-5"]
    assert made["expires_at"] == "2999-01-01T00:00:00.000Z"


def test_update_changes_what_is_named(run: Run) -> None:
    made = told(run, "create", "kitchen", "--models", "claude-*")
    del made["key"]

    changed = told(
        run, "update", "kitchen", "--name", "cellar", "--concurrency", "none", "--usd-per-month", "9"
    )

    assert changed == {
        **made,
        "name": "cellar",
        "limits": {**made["limits"], "concurrency": None},
        "budget": {"usd_per_day": 2.5, "usd_per_month": 9},
        "updated_at": changed["updated_at"],
    }


def test_rotate_and_revoke(run: Run) -> None:
    made = told(run, "create", "kitchen")

    rotated = told(run, "rotate", "kitchen", "--overlap", "60")
    assert rotated["id"] == made["id"]
    assert rotated["key"] != made["key"]

    assert told(run, "revoke", "kitchen")["revoked_at"] is not None
    assert run("show", "kitchen")[0] == 1
    assert told(run, "show", made["id"])["revoked_at"] is not None


def test_list(run: Run) -> None:
    for name in ("kitchen", "study", "cellar"):
        run("create", name)
    run("revoke", "study")

    lines = run("list")[1].splitlines()
    assert lines[0].split() == ["id", "name", "scopes", "models", "expires_at", "revoked_at"]
    assert [line.split()[1] for line in lines[1:]] == ["cellar", "kitchen"]
    assert "sk-gw-" not in "".join(lines)
    names = [key["name"] for key in told(run, "list", "--revoked")["keys"]]
    assert names == ["cellar", "study", "kitchen"]


def test_a_name_goes_before_an_id(run: Run) -> None:
    first = told(run, "create", "kitchen")
    second = told(run, "create", first["id"])

    assert told(run, "show", first["id"])["id"] == second["id"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["create", "kitchen"], "the name kitchen is taken"),
        (["create", "admin"], "the name admin is taken"),
        (["create", " x"], "name must be"),
        (["create", "x", "--scopes", "root"], "scopes must be some of"),
        (["create", "x", "--expires-at", "2020-01-01T00:00:00Z"], "expires_at must be a time to come"),
        (["create", "x", "--usd-per-day", "nan"], "budget.usd_per_day must be"),
        (["show", "nobody"], "no key nobody"),
        (["update", "kitchen"], "say what to change"),
        (["rotate", "kitchen", "--overlap", "-1"], "the overlap must be"),
        (["revoke", "key_admin"], "no key key_admin"),
    ],
)
def test_a_refusal_is_one_line_and_exit_code_1(run: Run, arguments: list[str], reason: str) -> None:
    run("create", "kitchen")

    code, out, err = run(*arguments)

    assert (code, out) == (1, "")
    assert reason in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [[], ["make"], ["create"], ["create", "x", "--concurrency", "many"], ["list", "all"]]
)
def test_wrong_usage_exits_with_2(run: Run, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)

    assert ended.value.code == 2


def test_a_database_that_cannot_be_opened(run: Run, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "data").write_text("a file in the folder's place")

    for command in (["list"], ["create", "kitchen"]):
        code, out, err = run(*command)
        assert (code, out) == (1, "")
        assert err.startswith(str(tmp_path / "data")) or str(tmp_path / "data" / "gateway.db") in err
        assert err.count("\n") == 1


def test_create_tells_a_terminal_of_a_database_that_it_has_made(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(tmp_path / "data")
    assert run("create", "kitchen")[::2] == (0, "")
    shutil.rmtree(tmp_path / "data")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)

    code, out, err = run("create", "kitchen", "--json")

    assert (code, json.loads(out)["name"]) == (0, "kitchen")
    assert err == f"There was no database; a new one was made: {tmp_path / 'data' / 'gateway.db'}\n"
    assert run("create", "study")[2] == ""
