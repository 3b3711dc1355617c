"""One JSON message a request: what it costs, how many a core can do, what one caller waits longer."""

from pathlib import Path

from bench import machine, measure, upstreams
from bench.options import Options
from bench.payloads import request_body
from bench.report import Metric, Report
from bench.subjects import Bench, Target, running

METRICS = (
    Metric("cpu_us", "CPU µs/request", "lower", 1),
    Metric("rate", "requests/s", "higher"),
    Metric("beside_nginx", "beside nginx", "higher", 3),
    Metric("added_p50_ms", "added p50 ms, c=1", "lower", 3),
    Metric("p99_ms", "p99 ms", "lower", 1),
    Metric("busy", "core used", "higher", 2),
    Metric("others", "others' CPU", "lower", 2),
)


def run(options: Options) -> Report:
    """Round by round, every target after the other: full load, then one caller."""
    report = Report("unary", METRICS, options.public(), machine.describe())
    body = options.folder / "request.json"
    body.write_bytes(request_body())
    with upstreams.static(options.folder, options.load_core) as port:
        bench = Bench.of(options, port)
        with running(bench, options.subjects) as targets:
            for target in targets:
                measure.check_unary(target, body.read_bytes())
                measure.loaded(bench, target, target.url, body, connections=options.connections, seconds=1)
            for _ in range(options.rounds):
                _alone(report, bench, options, bench.direct(), body)
                for target in targets:
                    _full(report, bench, options, target, body)
                    _alone(report, bench, options, target, body)
    report.compare("beside_nginx", "rate", "nginx")
    report.subtract("added_p50_ms", "alone_p50_ms", "direct")
    return report


def _full(report: Report, bench: Bench, options: Options, target: Target, body: Path) -> None:
    connections, seconds = options.connections, options.seconds
    full = measure.loaded(bench, target, target.url, body, connections=connections, seconds=seconds)
    report.add(target.label, **full.figures())


def _alone(report: Report, bench: Bench, options: Options, target: Target, body: Path) -> None:
    seconds = options.seconds / 2
    single = measure.loaded(bench, target, target.url, body, connections=1, seconds=seconds)
    report.add(target.label, alone_p50_ms=single.load.p50_ms)
