"""From the start of a process to its first 200 for readiness, on an empty data folder and on a used one."""

import shutil

from bench import machine, procfs, upstreams
from bench.options import Options
from bench.report import Metric, Report
from bench.subjects import STARTERS, Bench

METRICS = (
    Metric("first_seconds", "first start, s", "lower", 2),
    Metric("again_seconds", "start, s", "lower", 2),
    Metric("cpu_seconds", "its CPU s", "lower", 2),
)


def run(options: Options) -> Report:
    """Start and stop each subject twice a round; one start before the rounds fills the file cache."""
    report = Report("startup", METRICS, options.public(), machine.describe())
    with upstreams.static(options.folder, options.load_core) as port:
        bench = Bench.of(options, port)
        for subject in options.subjects:
            _start(bench, subject)
        for _ in range(options.rounds):
            for subject in options.subjects:
                shutil.rmtree(bench.data, ignore_errors=True)
                first, _ = _start(bench, subject)
                again, cpu = _start(bench, subject)
                report.add(subject, first_seconds=first, again_seconds=again, cpu_seconds=cpu)
    return report


def _start(bench: Bench, subject: str) -> tuple[float, float]:
    server, _ = STARTERS[subject](bench)
    with server:
        server.wait_ready()
        return server.ready_seconds, procfs.cpu_seconds(server.pid)
