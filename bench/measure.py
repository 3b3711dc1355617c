"""One round against one target, and the check that goes before it."""

import json
import os
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

    `cpu_us` is the server's CPU time a request; `busy` the share of its core that it used; `others` what
    programs outside the bench took of the machine, in cores (above a few per cent the round is disturbed).
    """

    load: wrk.Load
    cpu_us: float
    busy: float
    others: float

    def figures(self) -> dict[str, float]:
        """The round as a report takes it."""
        return {
            "cpu_us": self.cpu_us,
            "rate": self.load.rate,
            "p99_ms": self.load.p99_ms,
            "busy": self.busy,
            "others": self.others,
        }


class CpuClock:
    """CPU seconds since `start`, of a target's server and of everything that is no part of the bench."""

    def __init__(self, target: Target) -> None:
        self._pid = target.server.pid if target.server else None

    def start(self) -> None:
        """Count from now."""
        self._clock = time.perf_counter()
        self._server = self._server_now()
        self._others = self._others_now()

    @property
    def server(self) -> float:
        """CPU seconds of the server, with its threads and children."""
        return self._server_now() - self._server

    @property
    def others(self) -> float:
        """CPU seconds of all processes that the bench has not started, on both cores."""
        return max(0.0, self._others_now() - self._others)

    @property
    def wall(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._clock

    def _server_now(self) -> float:
        return procfs.cpu_seconds(self._pid) if self._pid else 0.0

    @staticmethod
    def _others_now() -> float:
        return procfs.busy_seconds() - procfs.cpu_seconds(os.getpid())


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
    try:
        load = wrk.run(
            url, body, target.headers, connections=connections, seconds=seconds, core=bench.load_core
        )
    except wrk.LoadError as error:
        tail = target.server.log_tail() if target.server else ""
        raise wrk.LoadError(f"{target.label}: {error}\n{tail}") from error
    if not load.requests:
        raise wrk.LoadError(f"{target.label} answered nothing in {seconds} s")
    cpu, others, wall = clock.server, clock.others, clock.wall
    return Round(load, cpu / load.requests * 1e6, cpu / wall, others / wall)
