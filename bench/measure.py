"""One round against one target, and the check that goes before it."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from bench import procfs
from bench.load import wrk
from bench.load.http import exchange
from bench.payloads import message_body
from bench.subjects import Bench, Target


@dataclass(frozen=True)
class Round:
    """A round of load and what it cost the server.

    `cpu_us` is the server's CPU time a request; `busy` the share of its core that it used; `foreign` the
    share that something else took (above a few per cent the round is disturbed).
    """

    load: wrk.Load
    cpu_us: float
    busy: float
    foreign: float

    def figures(self) -> dict[str, float]:
        """The round as a report takes it."""
        return {
            "cpu_us": self.cpu_us,
            "rate": self.load.rate,
            "p99_ms": self.load.p99_ms,
            "busy": self.busy,
            "foreign": self.foreign,
        }


class CpuClock:
    """CPU seconds of a target's server since `start`."""

    def __init__(self, target: Target) -> None:
        self._pid = target.server.pid if target.server else None
        self._before = 0.0

    def start(self) -> None:
        """Count from now."""
        self._before = self._read()

    @property
    def seconds(self) -> float:
        """CPU time used since the start."""
        return self._read() - self._before

    def _read(self) -> float:
        return procfs.cpu_seconds(self._pid) if self._pid else 0.0


def check_unary(target: Target, body: bytes) -> None:
    """Ask once and look at the answer: a server that answers nonsense must not win a race.

    Raises LoadError when the message did not come back whole.
    """
    status, raw = exchange("POST", target.url, body, target.headers)
    answer = json.loads(raw) if status == 200 else {}
    if answer.get("data", answer) != json.loads(message_body()):
        raise wrk.LoadError(f"{target.label} answered {status}: {raw[:500]!r}")


def check_stream(target: Target, body: bytes, events: int) -> None:
    """Ask once and look at the stream: `events` events from `message_start` to `message_stop`, in order.

    Raises LoadError when any is missing. An envelope's additional `text` frames do not count.
    """
    status, raw = exchange("POST", target.stream_url, body, target.headers)
    data = (
        [json.loads(line[5:]) for line in raw.splitlines() if line.startswith(b"data:")]
        if status == 200
        else []
    )
    kinds = [event["type"] for event in data if event["type"] != "text"]
    deltas = ["content_block_delta"] * (events - 5)
    expected = [
        "message_start",
        "content_block_start",
        *deltas,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    if kinds != expected:
        raise wrk.LoadError(f"{target.label} answered {status}, {len(kinds)} events: {raw[:500]!r}")


def loaded(bench: Bench, target: Target, url: str, body: Path, *, connections: int, seconds: float) -> Round:
    """Load `url` of `target` and read its server's CPU time before and after.

    Raises LoadError when an answer was not a success.
    """
    clock = CpuClock(target)
    clock.start()
    core_before, clock_before = procfs.core_seconds(bench.gateway_core), time.perf_counter()
    try:
        load = wrk.run(
            url, body, target.headers, connections=connections, seconds=seconds, core=bench.load_core
        )
    except wrk.LoadError as error:
        tail = target.server.log_tail() if target.server else ""
        raise wrk.LoadError(f"{target.label}: {error}\n{tail}") from error
    cpu = clock.seconds
    core = procfs.core_seconds(bench.gateway_core) - core_before
    wall = time.perf_counter() - clock_before
    return Round(load, cpu / load.requests * 1e6, cpu / wall, max(0.0, core - cpu) / wall)
