"""A very large request: how long everybody else waits while it is read, checked and passed on."""

import http.client
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from bench import machine, measure, procfs, upstreams
from bench.load.http import exchange
from bench.load.wrk import LoadError
from bench.options import Options
from bench.payloads import big_request_body, request_body
from bench.report import Metric, Report
from bench.subjects import Bench, Target, running

PAUSE_SECONDS = 0.001
_BIG_TIMEOUT = 300.0

METRICS = (
    Metric("longest_ms", "longest wait of another, ms", "lower", 1),
    Metric("usual_ms", "its usual wait", "lower", 1),
    Metric("big_seconds", "big request, s", "lower", 2),
    Metric("peak_mib", "peak memory, MiB", "lower"),
)


def run(options: Options) -> Report:
    """Send the big body on one connection and small requests on another, one after the other."""
    report = Report("big-body", METRICS, options.public(), machine.describe())
    big, small = big_request_body(options.megabytes), request_body()
    with upstreams.static(options.folder, options.load_core) as port:
        bench = Bench.of(options, port)
        with running(bench, options.subjects) as targets:
            for target in targets:
                measure.check_unary(target, small)
            for _ in range(options.rounds):
                for target in [bench.direct(), *targets]:
                    _round(report, target, big, small)
    return report


def _round(report: Report, target: Target, big: bytes, small: bytes) -> None:
    outcome: list[tuple[int, bytes] | Exception] = []

    def send_big() -> None:
        try:
            outcome.append(exchange("POST", target.url, big, target.headers, timeout=_BIG_TIMEOUT))
        except (OSError, http.client.HTTPException) as error:
            outcome.append(error)

    quiet = _waits(target, small, for_seconds(0.3))
    sender = threading.Thread(target=send_big)
    begin = time.perf_counter()
    sender.start()
    waits = _waits(target, small, sender.is_alive)
    seconds = time.perf_counter() - begin
    sender.join()
    if not isinstance(outcome[0], tuple) or outcome[0][0] != 200:
        raise LoadError(f"{target.label} answered the big body with {outcome[0]}")
    report.add(
        target.label,
        longest_ms=max(waits) * 1e3,
        usual_ms=sorted(quiet)[len(quiet) // 2] * 1e3,
        big_seconds=seconds,
    )
    if target.server:
        report.add(target.label, peak_mib=procfs.peak_rss_bytes(target.server.pid) / 2**20)


def for_seconds(seconds: float) -> Callable[[], bool]:
    """A condition that holds for `seconds` from now."""
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() < end


def _waits(target: Target, body: bytes, going_on: Callable[[], bool]) -> list[float]:
    parts = urlsplit(target.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_BIG_TIMEOUT)
    waits: list[float] = []
    while going_on() or not waits:
        begin = time.perf_counter()
        connection.request("POST", parts.path, body, dict(target.headers))
        response = connection.getresponse()
        response.read()
        waits.append(time.perf_counter() - begin)
        if response.status != 200:
            raise LoadError(f"{target.label} answered {response.status} beside the big body")
        time.sleep(PAUSE_SECONDS)
    connection.close()
    return waits
