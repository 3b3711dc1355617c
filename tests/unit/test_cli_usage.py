"""`python main.py usage`: the report of an admin, on the database itself."""

import asyncio
import csv
import errno
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway import cli
from gateway.keys import KeyRing
from gateway.ledger import Ledger
from gateway.ledger.export import FIELDS
from gateway.prices import PriceTable
from gateway.settings import NAMES, Settings
from gateway.store import Store
from gateway.usage import Usage

MODEL = "claude-sonnet-4-20250514"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `usage` on a database in which one key has made two calls."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    data = tmp_path / "data"
    data.mkdir()
    asyncio.run(_fill(f"sqlite:///{data / 'gateway.db'}"))
    env_file = tmp_path / "env"
    env_file.write_text(f"UPSTREAM=sandbox\nDATA_DIR={data}\n")

    def command(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["--env-file", str(env_file), "usage", *arguments])
        return (code, *capsys.readouterr())

    return command


async def _fill(url: str) -> None:
    store = Store(url)
    key, _ = await KeyRing(store, "an admin key of 32 characters or more").create({"name": "kitchen"})
    ledger = Ledger(store, PriceTable.load(), Settings(upstream="sandbox").budget_timezone)
    for number in range(2):
        entry = await ledger.begin(key, f"req_{number}", "messages_create", MODEL)
        ledger.settle(entry, Usage.read(MODEL, {"input_tokens": 1000, "output_tokens": 100}))
    await ledger.close()
    await store.close()


def test_the_report_as_json(run: Run) -> None:
    code, out, err = run("--json")

    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["timezone"] == "UTC"
    [row] = report["rows"]
    assert (row["key"], row["model"]) == ("kitchen", MODEL)
    assert (row["requests"], row["cost_usd"]) == (2, "0.009")
    assert report["total"]["input_tokens"] == 2000


def test_the_report_for_eyes(run: Run) -> None:
    code, out, _ = run("--group-by", "model,key")

    assert code == 0
    head, row, total = out.splitlines()
    assert head.split()[:3] == ["key", "model", "requests"]
    assert row.split()[:3] == ["kitchen", MODEL, "2"]
    assert total.split() == ["total", *row.split()[2:]]


def test_days_bound_it(run: Run) -> None:
    today = datetime.now(UTC).date().isoformat()

    assert json.loads(run("--from", today, "--json")[1])["total"]["requests"] == 2
    assert json.loads(run("--to", "2020-01-01", "--json")[1])["rows"] == []


@pytest.mark.parametrize(
    "arguments",
    [("--from", "yesterday"), ("--group-by", "colour"), ("--group-by", ""), ("--to", "2026-02-30")],
)
def test_wrong_usage_exits_with_2(run: Run, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)

    assert ended.value.code == 2


def test_the_export_as_csv(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "calls.csv"

    code, out, err = run("export", str(target))

    assert (code, out, err) == (0, f"{target}: 2 calls\n", "")
    with target.open(newline="") as file:
        calls = list(csv.DictReader(file))
    assert [call["request_id"] for call in calls] == ["req_0", "req_1"]
    assert calls[0]["key"] == "kitchen"
    assert calls[0]["cost_usd"] == "0.0045"
    assert calls[0]["estimated"] == "false"
    assert target.stat().st_mode & 0o777 == 0o600


def test_the_export_as_lines(run: Run, tmp_path: Path) -> None:
    code, out, err = run("export", "-", "--format", "jsonl")
    assert (code, err) == (0, "")
    calls = [json.loads(line) for line in out.splitlines()]
    assert [(call["model"], call["input_tokens"]) for call in calls] == [(MODEL, 1000)] * 2
    assert tuple(calls[0]) == FIELDS

    target = tmp_path / "calls.jsonl"
    code, out, _ = run("export", str(target), "--format", "jsonl", "--json")
    assert json.loads(out) == {"path": str(target), "rows": 2, "format": "jsonl"}
    assert [json.loads(line) for line in target.read_text().splitlines()] == calls


def test_days_bound_the_export(run: Run) -> None:
    assert run("export", "-", "--to", "2020-01-01")[1].count("\n") == 1
    today = datetime.now(UTC).date().isoformat()
    assert run("export", "-", "--from", today, "--to", today)[1].count("\n") == 3


def test_what_stands_before_the_word_export_holds_for_it_too(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "calls.csv"
    today = datetime.now(UTC).date().isoformat()

    assert run("--to", "2020-01-01", "export", "-")[1].count("\n") == 1
    assert run("--from", "2020-01-01", "--to", "2020-01-01", "export", "-", "--to", today)[1].count("\n") == 3
    assert json.loads(run("--from", today, "--json", "export", str(target))[1])["rows"] == 2


def test_no_page_of_the_export_is_lost_or_told_twice(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ledger.export.PAGE", 1)

    lines = run("export", "-")[1].splitlines()

    assert [line.split(",")[1] for line in lines] == ["request_id", "req_0", "req_1"]


def test_a_spreadsheet_calculates_nothing(run: Run, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "data" / "gateway.db")) as connection:
        connection.execute("UPDATE calls SET model = '=HYPERLINK(1)' WHERE request_id = 'req_0'")
        connection.commit()

    assert ",'=HYPERLINK(1)," in run("export", "-")[1]


def test_in_a_read_only_container_another_place_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run()  # makes the admin key

    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "a name that nobody has chosen")

    monkeypatch.setattr("tempfile.mkstemp", refuse)

    code, out, err = run("export", "november.csv")

    assert (code, out) == (1, "")
    assert err.startswith(f"{Path.cwd()}: Read-only file system. Name a place that can be written, or - ")
    assert "chown" not in err


def test_an_export_that_fails_leaves_nothing(run: Run, tmp_path: Path) -> None:
    code, out, err = run("export", str(tmp_path / "missing" / "calls.csv"))

    assert (code, out) == (1, "")
    assert err == f"{tmp_path / 'missing'}: No such file or directory\n"
    assert run("export", str(tmp_path)) == (1, "", f"{tmp_path}: Is a directory\n")


def test_a_pipe_takes_the_export_and_a_link_stays_one(run: Run, tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link.csv"
    os.mkfifo(pipe)
    link.symlink_to("calls.csv")
    with os.fdopen(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)) as reader:
        assert run("export", str(pipe))[0] == 0
        assert run("export", str(link))[0] == 0
        assert reader.read() == link.read_text()

    assert pipe.is_fifo()
    assert link.is_symlink()
    assert (tmp_path / "calls.csv").read_text().count("\n") == 3
