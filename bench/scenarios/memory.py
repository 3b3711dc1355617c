"""Resident memory: just started, after work, and for each open stream."""

import time
from pathlib import Path

from bench import machine, measure, procfs, upstreams
from bench.load import streams
from bench.options import Options
from bench.payloads import request_body
from bench.report import Metric, Report
from bench.subjects import Bench, Target, running

OPEN_STREAMS = 500
_SETTLE_SECONDS = 1.0
_SLOW_PACE = ("--events", "1000000", "--interval-ms", "1000")

METRICS = (
    Metric("idle_mib", "idle MiB", "lower", 1),
    Metric("worked_mib", "after work MiB", "lower", 1),
    Metric("stream_kib", "KiB a stream", "lower", 1),
)


def run(options: Options) -> Report:
    """Each subject alone and afresh: idle, then loaded, then holding streams with an event a second."""
    report = Report("memory", METRICS, options.public(), machine.describe())
    report.notes.append(f"resident memory of all processes; a stream's share of {OPEN_STREAMS} open ones")
    body, stream_body = options.folder / "unary.json", options.folder / "stream.json"
    body.write_bytes(request_body())
    stream_body.write_bytes(request_body(stream=True))
    with upstreams.streaming(options.folder, options.load_core, *_SLOW_PACE) as port:
        bench = Bench.of(options, port, streaming=True)
        with running(bench, options.subjects):
            pass  # compiles the bytecode, which takes memory of its own
        for _ in range(options.rounds):
            for subject in options.subjects:
                with running(bench, [subject]) as targets:
                    time.sleep(_SETTLE_SECONDS)
                    # Its second dialect is the same process, no longer fresh: one target stands for it.
                    _round(report, bench, options, targets[0], body, stream_body)
    return report


def _round(
    report: Report, bench: Bench, options: Options, target: Target, body: Path, stream_body: Path
) -> None:
    server = target.server
    if server is None:
        raise ValueError("memory can only be read of a server that the bench has started")
    report.add(target.label, idle_mib=procfs.rss_bytes(server.pid) / 2**20)
    connections, seconds = options.connections, options.seconds
    measure.loaded(bench, target, target.url, body, connections=connections, seconds=seconds)
    worked = procfs.rss_bytes(server.pid)
    report.add(target.label, worked_mib=worked / 2**20)

    def meanwhile() -> None:
        each = (procfs.rss_bytes(server.pid) - worked) / OPEN_STREAMS
        report.add(target.label, stream_kib=each / 1024)

    streams.hold(
        target.stream_url,
        stream_body,
        target.headers,
        streams=OPEN_STREAMS,
        seconds=1,
        core=options.load_core,
        meanwhile=meanwhile,
    )
