"""Start the gateway as its users do, `python main.py`, in a process of its own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from gateway.keys import KeyRing
from gateway.settings import VARIABLES
from gateway.store import Store
from tests.support.client import Client

ROOT = Path(__file__).parents[2]
ADMIN_KEY = "sk-gw-the-admin-key-of-the-tests-0123456789"
UPSTREAM_KEY = "sk-ant-the-upstream-key-of-the-tests-0123456789"
UPSTREAM_ADMIN_KEY = "sk-ant-admin-the-upstream-admin-key-of-the-tests"
DEADLINE = 60.0
SOON = 20.0
"""Seconds, on a machine that does a lot besides, for what takes moments on one that does not."""

T = TypeVar("T")

UNASKED = ("-m", "tests.support.unasked")
"""A program for `running` whose every request to upstream some caller has asked for."""


class Gateway(Client):
    """A running gateway, and a client of it with the admin key."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, output: Path, data: Path) -> None:
        super().__init__(url, ADMIN_KEY)
        self.process = process
        self.output = output
        self.data = data

    def log(self) -> list[dict[str, Any]]:
        """All log lines so far."""
        return _log(self.output)

    def request_line(self, request_id: str | None) -> dict[str, Any]:
        """The log line of a request, which comes soon after its answer; fails when it does not."""

        def find() -> dict[str, Any] | None:
            for line in self.log():
                if line.get("event") == "Request completed" and line["request_id"] == request_id:
                    return line
            return None

        return eventually(find, SOON)

    def metric(self, sample: str) -> float:
        """The value of a sample, written as in the text format, labels and all; 0 where there is none."""
        for line in self.call("GET", "/metrics").body.decode().splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        return 0.0

    def metrics(self, name: str, **labels: str) -> float:
        """The sum of all samples of a metric that have these labels, whatever others they have."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        total = 0.0
        for line in self.call("GET", "/metrics").body.decode().splitlines():
            if line.startswith((f"{name}{{", f"{name} ")) and all(label in line for label in wanted):
                total += float(line.rpartition(" ")[2])
        return total

    def memory(self) -> int:
        """Resident bytes of the process."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def terminate(self) -> None:
        """Ask it to stop; it may go on for a while."""
        self.process.send_signal(signal.SIGTERM)


@contextmanager
def running(
    folder: Path, settings: Mapping[str, str], program: Sequence[str] = ("main.py",)
) -> Iterator[Gateway]:
    """Run a gateway on a free port until the context ends.

    Args:
        folder: an empty folder for its data and output.
        settings: variables; those of the tests' own environment are kept from it.
        program: what Python is to run, where not `main.py`.
    """
    data, output = folder / "data", folder / "stdout"
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES} | {
        "HOST": "127.0.0.1",
        "PORT": "0",
        "TMPDIR": str(folder),  # where a killed sandbox leaves its files
        "DATA_DIR": str(data),
        "CONFIG_DIR": str(folder / "config"),
        "GATEWAY_ADMIN_KEY": ADMIN_KEY,
        **settings,
    }
    with output.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, *program, "--env-file", os.devnull],
            cwd=ROOT,
            env=environment,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Gateway(process, _address(process, output), output, data)
    finally:
        process.kill()
        process.wait()


def elsewhere() -> Client | None:
    """A gateway that runs already, by GATEWAY_URL and GATEWAY_KEY, the key of an admin; None without them."""
    url = os.environ.get("GATEWAY_URL")
    return Client(url, os.environ["GATEWAY_KEY"]) if url else None


def make_key(data: Path, name: str, scopes: Sequence[str]) -> str:
    """Make a key in the database of a gateway, running or not; it takes it up within a second."""
    data.mkdir(parents=True, exist_ok=True)
    store = Store(f"sqlite:///{data / 'gateway.db'}")
    try:
        ring = KeyRing(store, ADMIN_KEY)
        return asyncio.run(ring.create({"name": name, "scopes": list(scopes)}))[1]
    finally:
        store.close_now()


def eventually(find: Callable[[], T | None], timeout: float) -> T:
    """What `find` gives once it gives something; fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while (found := find()) is None:
        assert time.monotonic() < deadline, f"nothing found within {timeout} s"
        time.sleep(0.01)
    return found


def _address(process: subprocess.Popen[bytes], output: Path) -> str:
    def find() -> str | None:
        assert process.poll() is None, f"the gateway ended with {process.returncode}: {output.read_text()}"
        for line in _log(output):
            if line["event"].startswith("Uvicorn running on "):
                return str(line["event"].split()[3])
        return None

    return eventually(find, DEADLINE)


def _log(output: Path) -> list[dict[str, Any]]:
    whole, _, _ = output.read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
