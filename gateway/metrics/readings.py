"""Metrics that are read where their values live, at each scrape, instead of being counted along the way."""

import asyncio
import logging
import os
import shutil
import sys
import time
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from gateway import __version__
from gateway.metrics import model_lifecycle, upstream_limits
from gateway.metrics.instruments import Across, Description, Kind, Labels, Values
from gateway.metrics.labels import OTHER
from gateway.metrics.names import PREFIX
from gateway.prices import NANODOLLARS
from gateway.store.tables import budgets
from gateway.webhooks import OUTCOMES

if TYPE_CHECKING:
    from gateway.services import Services

logger = logging.getLogger("gateway")


def _own(
    kind: Kind, name: str, text: str, *labels: str, across: Across = "sum", unit: int = 1
) -> Description:
    return Description(PREFIX + name, kind, text, labels, unit=unit, across=across)


BUILD = _own(
    "gauge", "build_info", "Versions of this build; always 1.", "version", "python", "sdk", across="local"
)
CONFIG = _own(
    "gauge", "config_info", "What the settings chose; always 1.",
    "upstream", "database", "limits_storage", "native_validation", "response_validation", across="local",
)  # fmt: skip
PRICING = _own("gauge", "pricing_info", "The price table in use; always 1.", "version", across="local")
READY = _own("gauge", "ready", "Whether the gateway takes new work.", across="min")
INFLIGHT = _own("gauge", "inflight_requests", "Requests that are being served.")
TASKS = _own("gauge", "tasks", "Tasks of the event loop: flat, while the load is.")
QUEUE_DEPTH = _own("gauge", "queue_depth", "Calls that stand in line for a place of their key.")
STORAGE_UP = _own(
    "gauge", "limits_storage_up", "Whether Redis answers; without Redis no sample.", across="min"
)
STORAGE_FAILURES = _own("counter", "limits_storage_failures", "Questions that Redis did not answer.")
DB_WRITES = _own("summary", "db_write_seconds", "Time of the database's transactions.")
DB_FAILURES = _own("counter", "db_write_failures", "Writes that the database refused.")
DB_QUEUE = _own("gauge", "db_queue_depth", "Writes that wait for the database.")
DB_SIZE = _own("gauge", "db_size_bytes", "Size of the database.", across="max")
DB_ROWS = _own(
    "gauge", "db_rows", "Rows of what grows with time, counted once an hour.", "table", across="max"
)
DISK_SIZE = _own("gauge", "data_dir_size_bytes", "Size of the file system of DATA_DIR.", across="local")
DISK_FREE = _own("gauge", "data_dir_free_bytes", "What of it is free for the gateway.", across="local")
AUDIT_RECORDS = _own("counter", "audit_records", "Rows written to the audit trail.")
AUDIT_FAILURES = _own("counter", "audit_write_failures", "Rows that could not be written there.")
BUDGET_LIMIT = _own(
    "gauge", "budget_limit_dollars", "Budget of a key in its running day or month.",
    "key", "window", across="local", unit=NANODOLLARS,
)  # fmt: skip
BUDGET_SPENT = _own(
    "gauge", "budget_spent_dollars", "What of it is spent.",
    "key", "window", across="local", unit=NANODOLLARS,
)  # fmt: skip
BUDGET_RESERVED = _own(
    "gauge", "budget_reserved_dollars", "What of it calls under way hold.",
    "key", "window", across="local", unit=NANODOLLARS,
)  # fmt: skip
BATCHES = _own(
    "gauge", "batches", "Batches whose cost is not known yet, by how they stood when last looked at.",
    "state", across="max",
)  # fmt: skip
OLDEST_BATCH = _own(
    "gauge",
    "batch_oldest_open_timestamp_seconds",
    "When the oldest of them was made; without one no sample.",
    across="min",
)
ASYNC_MESSAGES = _own("gauge", "async_messages", "Asynchronous messages that have not ended.", "state")
REPLAYS = _own("counter", "idempotent_replays", "Answers given again to a request with an idempotency key.")
CONTENT = _own(
    "gauge", "content_bytes", "What callers asked to be kept, measured once an hour.", "kind", across="max"
)
ARCHIVE_FAILURES = _own(
    "counter", "batch_archive_failures", "Results of batches that could not be kept yet; it is tried again."
)
WEBHOOK_ATTEMPTS = _own(
    "counter", "webhook_attempts", "Attempts to tell the webhook of a batch's end, by what came of them.",
    "outcome",
)  # fmt: skip
DRIFT = _own(
    "gauge",
    "reconcile_drift_ratio",
    "What the ledger has more than Anthropic's cost report, as a part of it; with ANTHROPIC_ADMIN_KEY only.",
    across="max",
)
RECONCILED = _own(
    "gauge",
    "reconcile_last_success_timestamp_seconds",
    "When Anthropic's cost report was last read.",
    across="max",
)
MEMORY = Description("process_resident_memory_bytes", "gauge", "Memory in use, of all workers.")
CPU = Description("process_cpu_seconds", "counter", "Processor time used, by all workers.")
FILES = Description("process_open_fds", "gauge", "Open files and connections, of all workers.")
STARTED = Description(
    "process_start_time_seconds", "gauge", "When the process started; the oldest worker.", across="min"
)
"""The last four have the names that Prometheus' own client libraries give them."""

READINGS = (
    BUILD, CONFIG, PRICING, READY, INFLIGHT, TASKS, QUEUE_DEPTH, STORAGE_UP, STORAGE_FAILURES,
    DB_WRITES, DB_FAILURES, DB_QUEUE, DB_SIZE, DB_ROWS, DISK_SIZE, DISK_FREE, AUDIT_RECORDS, AUDIT_FAILURES,
    BUDGET_LIMIT, BUDGET_SPENT, BUDGET_RESERVED, BATCHES, OLDEST_BATCH, ASYNC_MESSAGES, REPLAYS, CONTENT,
    ARCHIVE_FAILURES, WEBHOOK_ATTEMPTS, DRIFT, RECONCILED,
    MEMORY, CPU, FILES, STARTED, *upstream_limits.DESCRIPTIONS, model_lifecycle.RETIRES,
)  # fmt: skip

STATES = ("in_progress", "canceling", "ended")
"""Anthropic's states of a batch; `ended` ones are booked at the next look."""

_STARTED_AT = time.time()
_PROC = Path("/proc/self")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Readings:
    """Reads the values of a process.

    Args:
        services: where they live.
    """

    def __init__(self, services: "Services") -> None:
        self._services = services
        self._balances: dict[tuple[str, str], tuple[int, int]] = {}
        self._tasks = 0

    async def refresh(self) -> None:
        """Read what only the database knows. Without it the other metrics are shown all the same."""
        self._tasks = len(asyncio.all_tasks())
        try:
            self._balances = await self._services.store.read(_balances)
        except Exception:
            logger.exception("The balances cannot be read for the metrics")

    def values(self) -> dict[str, Values]:
        """All values as they are now, by the metric's name; what is not known is left out."""
        found = self._plain() | self._disk() | _process() | self._budgets()
        told = self._services.metrics.upstream_limits.values() | self._services.metrics.models.values()
        return {description.name: values for description, values in found.items()} | told

    def _plain(self) -> dict[Description, Values]:
        services = self._services
        settings, writer, shared = services.settings, services.store.writer, services.limiter.shared
        python = ".".join(map(str, sys.version_info[:3]))
        choices = (
            settings.upstream,
            services.store.engine.dialect.name,
            "memory" if shared is None else "redis",
            settings.native_validation,
            settings.response_validation,
        )
        values: dict[Description, Values] = {
            BUILD: {(__version__, python, metadata.version("anthropic")): 1},
            CONFIG: {choices: 1},
            PRICING: {(services.prices.version,): 1},
            READY: {(): int(services.initialized and not services.draining)},
            INFLIGHT: {(): len(services.calls)},
            TASKS: {(): self._tasks},
            QUEUE_DEPTH: {(): services.limiter.queued},
            DB_WRITES: {(): [writer.commits, writer.commit_seconds]},
            DB_FAILURES: {(): writer.failures},
            DB_QUEUE: {(): writer.queued},
            DB_ROWS: {(table,): count for table, count in services.upkeep.rows.items()},
            AUDIT_RECORDS: {(): services.audit.written},
            AUDIT_FAILURES: {(): services.audit.failures},
        }
        if shared is not None:
            values |= {STORAGE_UP: {(): int(shared.available)}, STORAGE_FAILURES: {(): shared.failures}}
        values |= {
            ASYNC_MESSAGES: {
                ("queued",): services.async_messages.waiting,
                ("running",): services.async_messages.running,
            },
            REPLAYS: {(): services.idempotency.replays},
            CONTENT: {(kind,): size for kind, size in services.content.kept.items()},
        }
        batches = services.batch_costs
        states = Counter(batches.state(batch) for batch in batches.open)
        values[BATCHES] = {(state,): states[state] for state in STATES}
        values[ARCHIVE_FAILURES] = {(): services.ended_batches.failures}
        values[WEBHOOK_ATTEMPTS] = {(name,): services.webhooks.outcomes[name] for name in OUTCOMES}
        if batches.open:
            values[OLDEST_BATCH] = {(): batches.open[0].since}
        if services.reconciliation is not None:
            drift, read_at = services.reconciliation.drift, services.reconciliation.last_success
            values |= _known(DRIFT, drift) | _known(RECONCILED, read_at)
        return values

    def _disk(self) -> dict[Description, Values]:
        """Sizes; none while DATA_DIR cannot be looked at, which must not hide all other metrics."""
        try:
            disk = shutil.disk_usage(self._services.settings.data_dir)
            size = self._services.upkeep.size
        except OSError:
            logger.exception("DATA_DIR cannot be measured for the metrics")
            return {}
        return {DB_SIZE: {(): size}, DISK_SIZE: {(): disk.total}, DISK_FREE: {(): disk.free}}

    def _budgets(self) -> dict[Description, Values]:
        """Each budget of a living key, and what of it is gone in the running day or month."""
        services = self._services
        today = services.ledger.calendar.day(time.time())
        limits: dict[Labels, int] = {}
        spent: dict[Labels, int] = {}
        reserved: dict[Labels, int] = {}
        for key in services.keys.all():
            name = services.metrics.key_label(key.name)
            for window, limit, since in (
                ("day", key.budget.day, today),
                ("month", key.budget.month, today[:7]),
            ):
                if limit is None or name == OTHER:
                    continue
                labels = (name, window)
                limits[labels] = limit
                spent[labels], reserved[labels] = self._balances.get((key.id, since), (0, 0))
        return {BUDGET_LIMIT: limits, BUDGET_SPENT: spent, BUDGET_RESERVED: reserved}


def _process() -> dict[Description, Values]:
    times = os.times()
    values: dict[Description, Values] = {CPU: {(): times.user + times.system}, STARTED: {(): _STARTED_AT}}
    if _PROC.exists():  # on Linux
        pages = int((_PROC / "statm").read_text(encoding="ascii").split()[1])
        values |= {
            MEMORY: {(): pages * _PAGE_BYTES},
            FILES: {(): sum(1 for _ in (_PROC / "fd").iterdir())},
        }
    return values


def _known(description: Description, value: float | None) -> dict[Description, Values]:
    return {} if value is None else {description: {(): value}}


def _balances(connection: Connection) -> dict[tuple[str, str], tuple[int, int]]:
    """What each key has spent and reserved, by its id and the day or month."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for row in connection.execute(select(budgets)):
        found[row.key_id, row.day] = (row.day_spent, row.day_reserved)
        found[row.key_id, row.month] = (row.month_spent, row.month_reserved)
    return found
