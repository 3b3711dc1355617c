"""`python main.py batch wait`: against a running gateway whose batches end when the test says so."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import cli
from gateway.settings import VARIABLES
from tests.conftest import Relay
from tests.support.gateway import ADMIN_KEY
from tests.support.recorder import CLOSE, answer

BATCH = "msgbatch_1"
RESULTS = b'{"custom_id":"monday","result":{"type":"canceled"}}\n' * 2

Run = Callable[..., tuple[int, str, str]]


def batch(status: str, processing: int) -> bytes:
    counts = {
        "processing": processing,
        "succeeded": 2 - processing,
        "errored": 0,
        "canceled": 0,
        "expired": 0,
    }
    body = {"id": BATCH, "type": "message_batch", "processing_status": status, "request_counts": counts}
    times = {"created_at": "2026-11-22T10:00:00Z", "expires_at": "2026-11-23T10:00:00Z", "ended_at": None}
    rest = {"archived_at": None, "cancel_initiated_at": None, "results_url": None}
    return json.dumps(body | times | rest).encode()


@pytest.fixture
def run(
    relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    env_file = tmp_path / "env"
    port = relay.gateway.url.rpartition(":")[2]
    env_file.write_text(f"UPSTREAM=sandbox\nPORT={port}\nGATEWAY_ADMIN_KEY={ADMIN_KEY}\n")

    def command(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["--env-file", str(env_file), "batch", "wait", BATCH, "--every", "0.01", *arguments])
        return (code, *capsys.readouterr())

    return command


def test_it_waits_for_the_end(relay: Relay, run: Run) -> None:
    relay.upstream.script(
        answer(body=batch("in_progress", 2)),
        answer(body=batch("in_progress", 1)),
        answer(body=batch("ended", 0)),
    )

    assert run() == (0, f"{BATCH} has ended: 2 succeeded.\n", "")
    assert len(relay.upstream.requests) == 3


def test_it_fetches_the_results(relay: Relay, run: Run, tmp_path: Path) -> None:
    target = tmp_path / "results.jsonl"
    relay.upstream.script(answer(body=batch("ended", 0)), answer(body=RESULTS, kind="application/x-jsonl"))

    code, out, err = run("--output", str(target), "--json")

    assert (code, err) == (0, "")
    told = json.loads(out)
    assert (told["id"], told["processing_status"]) == (BATCH, "ended")
    assert told["results"] == {"path": str(target), "bytes": len(RESULTS)}
    assert target.read_bytes() == RESULTS
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_key_of_ones_own(relay: Relay, run: Run, tmp_path: Path) -> None:
    """The kitchen's has no scope for batches."""
    file = tmp_path / "key"
    file.write_text(f"{relay.kitchen.key}\n")

    code, out, err = run("--key-file", str(file))

    assert (code, out) == (1, "")
    assert err.startswith("the gateway refuses (status 403): ")


def test_failures_are_one_line(relay: Relay, run: Run, tmp_path: Path) -> None:
    error = {"type": "error", "error": {"type": "not_found_error", "message": "no such batch"}}
    relay.upstream.script(answer(404, json.dumps(error).encode()))
    assert run() == (1, "", "the gateway refuses (status 404): no such batch\n")

    code, out, err = run("--url", "http://127.0.0.1:9")
    assert (code, out) == (1, "")
    assert err.startswith("the gateway at 127.0.0.1:9 does not answer: ")

    code, out, err = run("--url", relay.upstream.url)
    assert (code, err) == (1, f"what answers at {relay.upstream.url.removeprefix('http://')} is no gateway\n")


def test_results_that_break_off_leave_nothing(relay: Relay, run: Run, tmp_path: Path) -> None:
    target = tmp_path / "results.jsonl"
    cut = [b"HTTP/1.1 200 OK\r\ncontent-type: application/x-jsonl\r\ncontent-length: 999\r\n\r\n" + RESULTS]
    relay.upstream.script(answer(body=batch("ended", 0)), [*cut, CLOSE])

    code, _, err = run("--output", str(target))

    assert code == 1
    assert err == "the results broke off; nothing was written\n"
    assert not list(tmp_path.glob("*results*"))


@pytest.mark.parametrize(
    "arguments",
    [
        *(("--every", every) for every in ("0", "-1", "soon")),
        *(
            ("--url", url)
            for url in ("nas:8090", "127.0.0.1:8090", "ftp://nas", "http://", "http://nas:port")
        ),
    ],
)
def test_wrong_usage_exits_with_2(run: Run, arguments: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2
