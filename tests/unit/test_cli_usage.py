"""`python main.py usage`: the report of an admin, on the database itself."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway import cli
from gateway.keys import KeyRing
from gateway.ledger import Ledger
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
