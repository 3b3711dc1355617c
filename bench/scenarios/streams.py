"""Event streams: whole ones in a burst, held ones at an even pace, and the wait for the first event."""

import socket
import time
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from bench import machine, measure, procfs, upstreams
from bench.load import streams, wrk
from bench.load.sse_client import request_bytes
from bench.options import Options
from bench.payloads import STREAM_EVENTS, request_body
from bench.report import Metric, Report
from bench.subjects import Bench, Target, running

INTERVAL_MS = 20
HELD_P99_MS = 50  # a held stream whose events come later than this is not "held"
FIRST_EVENT_REQUESTS = 200
FEW_EVENTS = ("--events", "6", "--interval-ms", "4")
SLOW_READERS = 100
SETTLE_SECONDS = 5.0  # until every buffer on the way to a slow reader is full
_ENDLESS = 1_000_000
_LONG_BYTES = 8 * 2**20
_LONG_STREAM = ("--events", "2053", "--text-bytes", "4096")

BURST = (
    Metric("cpu_us", "CPU µs/stream", "lower"),
    Metric("rate", "streams/s", "higher"),
    Metric("beside_nginx", "beside nginx", "higher", 3),
    Metric("cpu_beside_nginx", "CPU beside nginx", "lower", 1),
    Metric("p99_ms", "p99 ms", "lower", 1),
    Metric("busy", "core used", "higher", 2),
    Metric("others", "others' CPU", "lower", 2),
)
SLOW = (
    Metric("kib_each", "KiB a slow reader", "lower"),
    Metric("rate_before", "requests/s without", "higher"),
    Metric("rate_during", "with them", "higher"),
    Metric("p99_before", "p99 ms without", "lower", 2),
    Metric("p99_during", "with them", "lower", 2),
)
FIRST = (Metric("added_ms", "added p50 ms", "lower", 3), Metric("first_ms", "p50 ms", "lower", 3))


def burst(options: Options) -> Report:
    """Streams of 50 events that upstream writes all at once, as many as the core can do."""
    report = Report("stream-burst", BURST, options.public(), machine.describe())
    body = _body(options)
    with upstreams.streaming(options.folder, options.load_core) as port:
        bench = Bench.of(options, port, streaming=True)
        with running(bench, options.subjects) as targets:
            for target in targets:
                measure.check_stream(target, body.read_bytes(), STREAM_EVENTS)
            for _ in range(options.rounds):
                for target in targets:
                    url, connections = target.stream_url, options.connections
                    full = measure.loaded(
                        bench, target, url, body, connections=connections, seconds=options.seconds
                    )
                    report.add(target.label, **full.figures())
    report.compare("beside_nginx", "rate", "nginx")
    report.compare("cpu_beside_nginx", "cpu_us", "nginx")
    return report


def paced(options: Options) -> Report:
    """More and more streams with an event every 20 ms, until a target can no longer hold them."""
    steps = [Metric(f"p99_ms_{count}", f"p99 ms of {count}", "lower", 1) for count in options.streams]
    metrics = [*steps, Metric("held", "held", "higher"), Metric("cpu_us", "CPU µs/event", "lower", 1)]
    report = Report("stream-paced", metrics, options.public(), machine.describe())
    report.notes.append(f'"held": the most streams whose p99 event delay stays below {HELD_P99_MS} ms')
    body = _body(options)
    pace = ("--events", str(_ENDLESS), "--interval-ms", str(INTERVAL_MS))
    with upstreams.streaming(options.folder, options.load_core, *pace) as port:
        bench = Bench.of(options, port, streaming=True)
        with running(bench, options.subjects) as targets:
            for _ in range(options.rounds):
                for target in [bench.direct(), *targets]:
                    _climb(report, options, target, body)
    return report


def slow_readers(options: Options) -> Report:
    """Callers who ask for long streams and never read them: what that costs in memory and in speed."""
    report = Report("slow-readers", SLOW, options.public(), machine.describe())
    report.notes.append(f"{SLOW_READERS} callers who do not read their streams of {_LONG_BYTES // 2**20} MiB")
    stream_body = _body(options)
    body = options.folder / "unary.json"
    body.write_bytes(request_body())
    with upstreams.streaming(options.folder, options.load_core, *_LONG_STREAM) as port:
        bench = Bench.of(options, port, streaming=True)
        for _ in range(options.rounds):
            for subject in options.subjects:
                # A fresh process each time, for memory kept from one round would hide what the next takes.
                with running(bench, [subject]) as targets:
                    for target in targets:
                        _slow(report, options, target, body, stream_body)
    return report


def _slow(report: Report, options: Options, target: Target, body: Path, stream_body: Path) -> None:
    server = target.server
    if server is None:
        raise ValueError("memory can only be read of a server that the bench has started")

    def load() -> wrk.Load:
        seconds, core = options.seconds, options.load_core
        return wrk.run(target.url, body, target.headers, connections=8, seconds=seconds, core=core)

    before, rss_before = load(), procfs.rss_bytes(server.pid)

    def meanwhile() -> None:
        time.sleep(SETTLE_SECONDS)
        during, rss = load(), procfs.rss_bytes(server.pid)
        report.add(
            target.label,
            kib_each=(rss - rss_before) / SLOW_READERS / 1024,
            rate_before=before.rate,
            rate_during=during.rate,
            p99_before=before.p99_ms,
            # Where nothing came back, everybody has waited for the whole round at least.
            p99_during=during.p99_ms if during.requests else during.seconds * 1e3,
        )

    streams.hold(
        target.stream_url,
        stream_body,
        target.headers,
        streams=SLOW_READERS,
        seconds=options.seconds + SETTLE_SECONDS + 1,
        core=options.load_core,
        never_read=True,
        meanwhile=meanwhile,
    )


def _climb(report: Report, options: Options, target: Target, body: Path) -> None:
    held = 0
    for count in options.streams:
        cpu = measure.CpuClock(target)
        delays = streams.hold(
            target.stream_url,
            body,
            target.headers,
            streams=count,
            seconds=options.seconds,
            core=options.load_core,
            meanwhile=cpu.start,
        )
        report.add(target.label, **{f"p99_ms_{count}": delays.p99_ms})
        expected = count * options.seconds * 1000 / INTERVAL_MS
        if delays.p99_ms >= HELD_P99_MS or delays.events < 0.95 * expected:
            break
        held, cost = count, cpu.server / delays.events * 1e6
    report.add(target.label, held=held, **({"cpu_us": cost} if held else {}))


def first_event(options: Options) -> Report:
    """One caller, one stream after the other: how much later the first event comes than without a gateway."""
    report = Report("first-event", FIRST, options.public(), machine.describe())
    body = _body(options)
    with upstreams.streaming(options.folder, options.load_core, *FEW_EVENTS) as port:
        bench = Bench.of(options, port, streaming=True)
        with running(bench, options.subjects) as targets:
            for _ in range(options.rounds):
                for target in [bench.direct(), *targets]:
                    waits = _first_events(target, body.read_bytes())
                    report.add(target.label, first_ms=median(waits))
    report.subtract("added_ms", "first_ms", "direct")
    return report


def _first_events(target: Target, body: bytes) -> list[float]:
    parts = urlsplit(target.stream_url)
    headers = [f"{name}: {value}" for name, value in target.headers.items()]
    request = request_bytes(target.stream_url, body, headers)
    waits = []
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(FIRST_EVENT_REQUESTS):
            begin = time.perf_counter()
            connection.sendall(request)
            answer = _receive(connection, b"message_start", b"")
            waits.append((time.perf_counter() - begin) * 1e3)
            _receive(connection, b"\r\n0\r\n\r\n", answer)
    return waits


def _receive(connection: socket.socket, until: bytes, answer: bytes) -> bytes:
    while until not in answer:
        data = connection.recv(65536)
        if not data:
            raise wrk.LoadError(f"the connection closed after {answer[-300:]!r}")
        answer += data
    return answer


def _body(options: Options) -> Path:
    body = options.folder / "request.json"
    body.write_bytes(request_body(stream=True))
    return body
