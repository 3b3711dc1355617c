"""What a request costs after years of use: many keys and a long ledger, beside an empty database."""

import sqlite3
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from bench import machine, measure, upstreams
from bench.options import Options
from bench.payloads import request_body
from bench.report import Metric, Report
from bench.subjects import Bench, Target, running

KEYS = 10_000
DAYS = 400
"""Days over which the ledger's rows are spread; its daily sums have a row for each key and day of a tenth."""

METRICS = (
    Metric("cpu_us", "CPU µs/request", "lower", 1),
    Metric("beside_empty", "beside empty", "lower", 2),
    Metric("rate", "requests/s", "higher"),
    Metric("p99_ms", "p99 ms", "lower", 1),
    Metric("megabytes", "database, MB", "lower"),
)

_KEYS = """
INSERT INTO keys SELECT 'key_grown' || n, 'grown ' || n, randomblob(32), NULL, NULL, scopes, models, limits,
    budget, created_at, updated_at, NULL, NULL, revision
FROM (SELECT * FROM keys LIMIT 1), numbers WHERE n <= :keys
"""
_CALLS = """
INSERT INTO calls (id, request_id, key_id, instance_id, operation, model, day, started_at, status,
    input_tokens, cost, estimated, reserved, output_tokens, http_status, upstream_request_id, ended_at)
SELECT n, 'req_' || hex(randomblob(12)), 'key_grown' || (n % :keys + 1), 0, 'messages_create',
    'claude-sonnet-4-20250514', date('now', '-' || (n % :days) || ' days'),
    (strftime('%s', 'now') - n % :days * 86400) * 1000, 'done', 500, 4500000, 0, 9000000, 200, 200,
    'req_' || hex(randomblob(12)), (strftime('%s', 'now') - n % :days * 86400) * 1000 + 900
FROM numbers WHERE n <= :rows
"""
_SUMS = """
INSERT INTO usage_daily (day, key_id, model, requests, input_tokens, output_tokens, cost)
SELECT day, key_id, model, count(*), sum(input_tokens), sum(output_tokens), sum(cost) FROM calls
WHERE instance_id = 0 AND id % 10 = 0 GROUP BY day, key_id, model
"""
_NUMBERS = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < max(:keys, :rows))
"""


def run(options: Options) -> Report:
    """Two gateways on one core, loaded in turn: one with an empty database, one with `--rows` rows."""
    report = Report("growth", METRICS, options.public(), machine.describe())
    report.notes.append(f"{KEYS:,} keys and {options.rows:,} rows in the ledger of {DAYS} days")
    body = options.folder / "request.json"
    body.write_bytes(request_body())
    with upstreams.static(options.folder, options.load_core) as port, ExitStack() as stack:
        benches = {
            name: replace(Bench.of(options, port), folder=options.folder / name)
            for name in ("empty", "grown")
        }
        for bench in benches.values():
            bench.folder.mkdir()
        with running(benches["grown"], ["gateway"]):
            pass  # makes the tables, and a key to copy
        fill(benches["grown"].data / "gateway.db", options.rows)
        targets = {
            name: stack.enter_context(running(bench, ["gateway"]))[0] for name, bench in benches.items()
        }
        for target in targets.values():
            measure.check_unary(target, body.read_bytes())
        for _ in range(options.rounds):
            for name, target in targets.items():
                _round(report, benches[name], options, replace(target, label=name), body)
    report.compare("beside_empty", "cpu_us", "empty")
    return report


def fill(path: Path, rows: int) -> None:
    """Write keys, ledger rows and their daily sums into the database of a gateway that does not run."""
    values = {"keys": KEYS, "rows": rows, "days": DAYS}
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        for statement in (_NUMBERS + _KEYS, _NUMBERS + _CALLS, _SUMS):
            connection.execute(statement, values)
        connection.commit()
        connection.execute("PRAGMA journal_mode=WAL")


def _round(report: Report, bench: Bench, options: Options, target: Target, body: Path) -> None:
    found = measure.loaded(
        bench, target, target.url, body, connections=options.connections, seconds=options.seconds
    )
    size = (bench.data / "gateway.db").stat().st_size / 1e6
    figures = {name: value for name, value in found.figures().items() if name in ("cpu_us", "rate", "p99_ms")}
    report.add(target.label, **figures, megabytes=size)
