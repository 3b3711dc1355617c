"""One round against one target, and the check that goes before it."""

import json
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from bench import procfs
from bench.load import wrk
from bench.payloads import message_body
from bench.subjects import Bench, Target


@dataclass(frozen=True)
class Round:
    """A round of load and what it cost the server.

    `cpu_us` is the server's CPU time a request; `busy` the share of its core that the server used; `foreign` the share
    that something else took from it (above a few per cent the round is disturbed).
    """

    load: wrk.Load
    cpu_us: float
    busy: float
    foreign: float


def check_unary(target: Target, body: bytes) -> None:
    """Ask once and look at the answer: a server that answers nonsense must not win a race.

    Raises LoadError when the message did not come back whole.
    """
    request = urllib.request.Request(target.url, body, dict(target.headers))
    with urllib.request.urlopen(request, timeout=30) as response:
        answer = json.load(response)
    message = answer.get("data", answer)
    if message != json.loads(message_body()):
        raise wrk.LoadError(f"{target.label} answered {answer}")


def loaded(bench: Bench, target: Target, url: str, body: Path, *, connections: int, seconds: float) -> Round:
    """Load `url` of `target` and read its server's CPU time before and after.

    Raises LoadError when an answer was not a success.
    """
    pid = target.server.pid if target.server else None
    cpu_before = procfs.cpu_seconds(pid) if pid else 0.0
    core_before, clock_before = procfs.core_seconds(bench.gateway_core), time.perf_counter()
    try:
        load = wrk.run(
            url, body, target.headers, connections=connections, seconds=seconds, core=bench.load_core
        )
    except wrk.LoadError as error:
        tail = target.server.log_tail() if target.server else ""
        raise wrk.LoadError(f"{target.label}: {error}\n{tail}") from error
    cpu = procfs.cpu_seconds(pid) - cpu_before if pid else 0.0
    core = procfs.core_seconds(bench.gateway_core) - core_before
    wall = time.perf_counter() - clock_before
    return Round(load, cpu / load.requests * 1e6, cpu / wall, max(0.0, core - cpu) / wall)
