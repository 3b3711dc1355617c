"""What commands show while they work: a line on a terminal, nothing anywhere else."""

import io

import pytest

from gateway import cli_output
from gateway.cli_output import Progress, size, table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _every_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_output, "AT_MOST_EVERY", 0.0)


def test_a_terminal_is_told_and_left_clean() -> None:
    terminal = Terminal()
    with Progress("Backup", terminal) as progress:
        progress.add_bytes(500)
        progress.add_bytes(1_500_000)
        progress.count(1, 4)
        progress.count(0, 0)

    states = terminal.getvalue().split("\r\x1b[K")
    assert states == ["", "Backup: 500 B", "Backup: 1.5 MB", "Backup: 1 of 4 (25 %)", "Backup: 0 of 0", ""]


def test_it_is_left_clean_after_a_failure() -> None:
    terminal = Terminal()

    def fail() -> None:
        with Progress("Backup", terminal) as progress:
            progress.add_bytes(1)
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fail()

    assert terminal.getvalue().endswith("\r\x1b[K")


def test_a_pipe_is_told_nothing() -> None:
    pipe = io.StringIO()
    with Progress("Backup", pipe) as progress:
        progress.add_bytes(1)
        progress.count(1, 2)

    assert pipe.getvalue() == ""


def test_it_does_not_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_output, "AT_MOST_EVERY", 3600.0)
    terminal = Terminal()
    with Progress("Export", terminal) as progress:
        for number in range(100):
            progress.count(number, 100)

    assert terminal.getvalue().count("Export") == 1


def test_sizes() -> None:
    assert [size(count) for count in (0, 999, 1000, 2_500_000, 7e12)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "2.5 MB",
        "7000.0 GB",
    ]


def test_a_table() -> None:
    assert table([("name", "n"), ("a", "10")]) == "name  n\na     10"
