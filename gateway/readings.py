"""Metrics that are read where their values live, at each scrape, instead of being counted along the way."""

import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector
from sqlalchemy import Connection, select

from gateway.metrics import OTHER, PREFIX, Description
from gateway.prices import NANODOLLARS
from gateway.store.tables import budgets

if TYPE_CHECKING:
    from gateway.services import Services

logger = logging.getLogger("gateway")

Sample = tuple[tuple[str, ...], float]
_FAMILIES: dict[str, Callable[..., Any]] = {
    "gauge": GaugeMetricFamily,
    "counter": CounterMetricFamily,
    "summary": SummaryMetricFamily,
}

INFLIGHT = Description("inflight_requests", "gauge", "Requests that are being served.")
QUEUE_DEPTH = Description("queue_depth", "gauge", "Calls that stand in line for a place of their key.")
STORAGE_UP = Description("limits_storage_up", "gauge", "Whether Redis answers; without Redis no sample.")
STORAGE_FAILURES = Description("limits_storage_failures", "counter", "Questions that Redis did not answer.")
DB_WRITES = Description("db_write_seconds", "summary", "Time of the database's transactions.")
DB_QUEUE = Description("db_queue_depth", "gauge", "Writes that wait for the database.")
DB_SIZE = Description("db_size_bytes", "gauge", "Size of the database.")
DB_ROWS = Description("db_rows", "gauge", "Rows of what grows with time, counted once an hour.", ("table",))
AUDIT_RECORDS = Description("audit_records", "counter", "Rows written to the audit trail.")
AUDIT_FAILURES = Description("audit_write_failures", "counter", "Rows that could not be written there.")
BUDGET_LIMIT = Description(
    "budget_limit_dollars", "gauge", "Budget of a key in its running day or month.", ("key", "window")
)
BUDGET_SPENT = Description("budget_spent_dollars", "gauge", "What of it is spent.", ("key", "window"))
BUDGET_RESERVED = Description(
    "budget_reserved_dollars", "gauge", "What of it calls under way hold.", ("key", "window")
)
BATCHES = Description("batches_open", "gauge", "Batches whose cost is not known yet.")
OLDEST_BATCH = Description(
    "batch_oldest_open_timestamp_seconds", "gauge", "When the oldest of them was made; without one no sample."
)
PRICING = Description("pricing_info", "gauge", "The price table in use; always 1.", ("version",))
DRIFT = Description(
    "reconcile_drift_ratio",
    "gauge",
    "What the ledger has more than Anthropic's cost report, as a part of it; with ANTHROPIC_ADMIN_KEY only.",
)
RECONCILED = Description(
    "reconcile_last_success_timestamp_seconds", "gauge", "When Anthropic's cost report was last read."
)

READINGS = (
    INFLIGHT,
    QUEUE_DEPTH,
    STORAGE_UP,
    STORAGE_FAILURES,
    DB_WRITES,
    DB_QUEUE,
    DB_SIZE,
    DB_ROWS,
    AUDIT_RECORDS,
    AUDIT_FAILURES,
    BUDGET_LIMIT,
    BUDGET_SPENT,
    BUDGET_RESERVED,
    BATCHES,
    OLDEST_BATCH,
    PRICING,
    DRIFT,
    RECONCILED,
)


class Readings(Collector):
    """Reads the values of a process when it is scraped.

    Args:
        services: where they live.
    """

    def __init__(self, services: "Services") -> None:
        self._services = services
        self._balances: dict[tuple[str, str], tuple[int, int]] = {}

    async def refresh(self) -> None:
        """Read what only the database knows. Without it the other metrics are shown all the same."""
        try:
            self._balances = await self._services.store.read(_balances)
        except Exception:
            logger.exception("The balances cannot be read for the metrics")

    def describe(self) -> Iterable[Metric]:
        """Prometheus' hook: which names are ours."""
        return [_family(description, ()) for description in READINGS]

    def collect(self) -> Iterable[Metric]:
        """Prometheus' hook: all values as they are now."""
        services = self._services
        writer, shared = services.store.writer, services.limiter.shared
        for description, value in (
            (INFLIGHT, len(services.calls)),
            (QUEUE_DEPTH, services.limiter.queued),
            (DB_QUEUE, writer.queued),
            (AUDIT_RECORDS, services.audit.written),
            (AUDIT_FAILURES, services.audit.failures),
            (DB_SIZE, services.upkeep.size),
            (BATCHES, len(services.batch_costs.open)),
        ):
            yield _family(description, [((), value)])
        if shared is not None:
            yield _family(STORAGE_UP, [((), shared.available)])
            yield _family(STORAGE_FAILURES, [((), shared.failures)])
        writes = _family(DB_WRITES, ())
        writes.add_sample(f"{writes.name}_count", {}, writer.commits)
        writes.add_sample(f"{writes.name}_sum", {}, writer.commit_seconds)
        yield writes
        yield _family(DB_ROWS, [((table,), count) for table, count in services.upkeep.rows.items()])
        if services.batch_costs.open:
            yield _family(OLDEST_BATCH, [((), services.batch_costs.open[0].since)])
        yield _family(PRICING, [((services.prices.version,), 1)])
        yield from self._budgets()
        yield from self._reconciled()

    def _reconciled(self) -> Iterable[Metric]:
        reconciliation = self._services.reconciliation
        if reconciliation is not None:
            for description, value in (
                (DRIFT, reconciliation.drift),
                (RECONCILED, reconciliation.last_success),
            ):
                if value is not None:
                    yield _family(description, [((), value)])

    def _budgets(self) -> Iterable[Metric]:
        """Each budget of a living key, and what of it is gone in the running day or month."""
        services = self._services
        today = services.ledger.calendar.day(time.time())
        samples: dict[Description, list[Sample]] = {
            description: [] for description in (BUDGET_LIMIT, BUDGET_SPENT, BUDGET_RESERVED)
        }
        for key in services.keys.all():
            name = services.metrics.key_label(key.name)
            for window, limit, since in (
                ("day", key.budget.day, today),
                ("month", key.budget.month, today[:7]),
            ):
                if limit is None or name == OTHER:
                    continue
                spent, reserved = self._balances.get((key.id, since), (0, 0))
                for description, amount in zip(samples, (limit, spent, reserved), strict=True):
                    samples[description].append(((name, window), amount / NANODOLLARS))
        return [_family(description, found) for description, found in samples.items()]


def _family(description: Description, samples: Iterable[Sample]) -> Metric:
    family: Any = _FAMILIES[description.kind](
        PREFIX + description.name, description.text, labels=description.labels
    )
    for labels, value in samples:
        family.add_metric(labels, value)
    assert isinstance(family, Metric)
    return family


def _balances(connection: Connection) -> dict[tuple[str, str], tuple[int, int]]:
    """What each key has spent and reserved, by its id and the day or month."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for row in connection.execute(select(budgets)):
        found[row.key_id, row.day] = (row.day_spent, row.day_reserved)
        found[row.key_id, row.month] = (row.month_spent, row.month_reserved)
    return found
