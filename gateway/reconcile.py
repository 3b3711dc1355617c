"""Compare the ledger with Anthropic's cost report, where ANTHROPIC_ADMIN_KEY allows to read it.

The report is that of the whole organization: the drift says something where only the gateway spends its
money. Priority Tier is left out on both sides, as the report does.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlencode

import jiter
from sqlalchemy import Connection, func, select

from gateway.pool import Answer
from gateway.prices import NANODOLLARS
from gateway.store import Store
from gateway.store.tables import calls
from gateway.tasks import stop
from gateway.upstream import read_whole

log = logging.getLogger(__name__)

PATH = "/v1/organizations/cost_report"
"""https://docs.anthropic.com/en/api/admin-api/usage-cost/get-cost-report"""

DAYS = 7
"""Whole days (UTC) that are compared, the latest ones: calls and bills near midnight even out over them."""

INTERVAL = 3600.0
FIRST_AFTER = 60.0
NANOSECONDS = 1_000_000_000


class ReportError(Exception):
    """The report cannot be read."""


class Reconciliation:
    """Compares once an hour.

    Args:
        store: the database.
        ask: sends a GET for a path upstream with the admin key; the answer's body is not read yet.
        now: the clock, in seconds since 1970.

    Attributes:
        drift: what the ledger has more (less: negative) than the report, as a part of the report; None while
            there is nothing to compare.
        last_success: when the report was last read, in seconds since 1970.
    """

    def __init__(
        self, store: Store, ask: Callable[[str], Awaitable[Answer]], now: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._ask = ask
        self._now = now
        self._task: asyncio.Task[None] | None = None
        self.drift: float | None = None
        self.last_success: float | None = None

    async def start(self) -> None:
        """Begin to compare."""
        self._task = asyncio.create_task(self._work(), name="reconcile")

    async def close(self) -> None:
        """Stop."""
        await stop(self._task)

    async def compare(self) -> None:
        """Read the report for the latest whole days that the ledger knows, and work out the drift.

        Raises:
            GatewayError, ReportError: the report cannot be read.
        """
        today = datetime.fromtimestamp(self._now(), UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        oldest = await self._store.read(_oldest)
        if oldest is None:
            return
        known_from = oldest.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        first = max(today - timedelta(days=DAYS), known_from)
        if first >= today:
            return
        billed = await self._billed(first, today)
        self.last_success = self._now()
        booked = Decimal(await self._store.read(_booked, first, today)) / NANODOLLARS
        self.drift = float((booked - billed) / billed) if billed else None

    async def _billed(self, first: datetime, end: datetime) -> Decimal:
        """What Anthropic has billed, in dollars, over all pages of the report."""
        query = {"starting_at": _time(first), "ending_at": _time(end), "limit": str(DAYS)}
        total = Decimal(0)
        for _ in range(DAYS):
            answer = await self._ask(f"{PATH}?{urlencode(query)}")
            body = await read_whole(answer)
            if answer.status != 200:
                raise ReportError(f"Anthropic answered with status {answer.status}")
            amount, page = _read(body)
            total += amount
            if page is None:
                return total
            query["page"] = page
        raise ReportError("it has more pages than days")

    async def _work(self) -> None:
        await asyncio.sleep(FIRST_AFTER)
        while True:
            try:
                await self.compare()
            except Exception:
                log.exception("The ledger cannot be compared with Anthropic's cost report")
            await asyncio.sleep(INTERVAL)


def _read(body: bytes) -> tuple[Decimal, str | None]:
    """The sum of one page in dollars, and the next page. Amounts are decimal strings of cents."""
    try:
        report: Any = jiter.from_json(body)
        cents = [
            Decimal(result["amount"])
            for bucket in report["data"]
            for result in bucket["results"]
            if result["currency"] == "USD"
        ]
        page = report["next_page"] if report["has_more"] else None
    except (ValueError, KeyError, TypeError, InvalidOperation) as fault:
        raise ReportError(f"it has another form than expected ({type(fault).__name__})") from fault
    return sum(cents, Decimal(0)) / 100, page


def _oldest(connection: Connection) -> datetime | None:
    """When the oldest call of the ledger began: ids are times in nanoseconds."""
    number = connection.execute(select(func.min(calls.c.id))).scalar()
    return None if number is None else datetime.fromtimestamp(number / NANOSECONDS, UTC)


def _booked(connection: Connection, first: datetime, end: datetime) -> int:
    """What the ledger has for the calls of a time, in nano-dollars."""
    total = select(func.coalesce(func.sum(calls.c.cost), 0)).where(
        calls.c.id >= int(first.timestamp()) * NANOSECONDS,
        calls.c.id < int(end.timestamp()) * NANOSECONDS,
        calls.c.service_tier.is_distinct_from("priority"),
    )
    return int(connection.execute(total).scalar_one())


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
