"""Start and stop the programs of a run, each pinned to a core and writing its log to a file."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Self

from bench.load.http import exchange

_STOP_SECONDS = 5.0
_LOG_TAIL_BYTES = 2000


class StartError(RuntimeError):
    """A server that did not become ready; the message ends with the tail of its log."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """One program in a process group of its own. Use it as a context manager: leaving it ends the group."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        core: int,
        log: Path,
        ready_url: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self.ready_url = ready_url
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
            )
        self._started = time.perf_counter()
        self.ready_seconds = 0.0

    @property
    def pid(self) -> int:
        """Root of the process tree (taskset replaces itself by the program)."""
        return self._process.pid

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Poll `ready_url` until it answers 200; note in `ready_seconds` how long after the start that was.

        Raises StartError when the program ends or `timeout` seconds pass first.
        """
        while not self.ready_seconds:
            if self._process.poll() is not None:
                raise StartError(f"{self.name} ended with {self._process.returncode}\n{self.log_tail()}")
            if _answers(self.ready_url):
                self.ready_seconds = time.perf_counter() - self._started
                return
            if time.perf_counter() - self._started > timeout:
                raise StartError(f"{self.name} is not ready after {timeout:.0f} s\n{self.log_tail()}")
            time.sleep(0.002)

    def log_tail(self) -> str:
        """The end of what the program has printed."""
        return self.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")

    def stop(self) -> None:
        """Ask the group to end, then make it."""
        if self._process.poll() is None:
            os.killpg(self.pid, signal.SIGTERM)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _answers(url: str) -> bool:
    try:
        return exchange("GET", url, timeout=1)[0] == 200
    except (OSError, HTTPException):
        return False
