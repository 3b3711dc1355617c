"""`batch wait --output`: where results go, and what is told of those that break off."""

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway import cli, cli_batch
from gateway.cli_files import complete_or_absent
from gateway.faults import of_file
from gateway.settings import VARIABLES
from tests.support.recorder import CLOSE, RESET, Gate, Recorder, Step, answer, chunk

UNDER_WAY = json.dumps({"data": {"processing_status": "in_progress"}}).encode()
ENDED = json.dumps({"data": {"processing_status": "ended", "request_counts": {"succeeded": 2}}}).encode()
RESULTS = b'{"custom_id":"monday"}\n{"custom_id":"tuesday"}\n'
KIND = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-jsonl\r\n"

Run = Callable[[str], int]


@pytest.fixture
def gateway() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture
def run(gateway: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    key = tmp_path / "key"
    key.write_text("a key")

    def wait(output: str) -> int:
        arguments = ["batch", "wait", "msgbatch_1", "--url", gateway.url, "--key-file", str(key)]
        arguments += ["--every", "0.01"]
        return cli.main(["--env-file", os.devnull, *arguments, "--output", output])

    return wait


@pytest.mark.parametrize(
    "results",
    [
        [KIND + b"transfer-encoding: chunked\r\n\r\n" + chunk(RESULTS), RESET],
        [KIND + b"transfer-encoding: chunked\r\n\r\n" + chunk(RESULTS), CLOSE],
        [KIND + b"content-length: 999\r\n\r\n" + RESULTS, CLOSE],
        [KIND + b"content-length: 999\r\n\r\n" + RESULTS, Gate()],
    ],
    ids=["reset", "closed", "too short", "silent"],
)
def test_results_that_break_off(
    gateway: Recorder,
    run: Run,
    results: list[Step],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cli_batch, "SECONDS", 0.5)
    gateway.script(answer(body=ENDED), results)

    assert run(str(tmp_path / "results.jsonl")) == 1

    assert capsys.readouterr() == ("", "the results broke off; nothing was written\n")
    assert not list(tmp_path.glob("*results*"))


def test_results_to_a_pipe(gateway: Recorder, run: Run, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    gateway.script(answer(body=ENDED), answer(body=RESULTS))
    assert run("-") == 0
    assert capsysbinary.readouterr() == (RESULTS, b"")

    gateway.script(answer(body=ENDED), [KIND + b"content-length: 999\r\n\r\n" + RESULTS, CLOSE])
    assert run("-") == 1
    assert capsysbinary.readouterr() == (RESULTS, b"the results broke off\n")


def test_a_full_disk_is_no_fault_of_the_gateway(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space") as caught, complete_or_absent(tmp_path / "results.jsonl"):
        raise full

    assert of_file(caught.value) == f"{tmp_path}: No space left on device. Make room on that disk"
    assert not list(tmp_path.iterdir())


REFUSAL = json.dumps({"success": False, "error": "Overloaded"}).encode()
AWAY: list[list[Step]] = [
    [CLOSE],
    [RESET],
    answer(429, REFUSAL),
    answer(503, REFUSAL),
    answer(502, b"<html>a proxy in front"),
    answer(body=b"<html>a page of the router"),
    [b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n", CLOSE],
]


def test_a_gateway_that_is_away_for_a_while(
    gateway: Recorder, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.script(
        answer(body=UNDER_WAY), *AWAY, answer(body=UNDER_WAY), answer(body=ENDED), answer(body=RESULTS)
    )
    assert run("-") == 0
    assert capsys.readouterr() == (RESULTS.decode(), "")

    for away in AWAY:  # at the first look it is not the right address, or not the time
        gateway.script(away)
        assert run("-") == 1
        gateway.script(answer(body=UNDER_WAY), answer(404, REFUSAL))
        assert run("-") == 1
    capsys.readouterr()

    monkeypatch.setattr(cli_batch, "AWAY", 0.0)
    gateway.script(answer(body=UNDER_WAY), answer(503, REFUSAL))
    assert run("-") == 1
    assert capsys.readouterr() == ("", "the gateway refuses (status 503): Overloaded\n")
    assert len(gateway.requests) == len(AWAY) + 4 + 3 * len(AWAY) + 2
