"""The ledger's tables: rows, sums by day and balances, all changed in the same transaction."""

import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, literal_column, select

from gateway.budgets import Balance, Balances, Calendar, Refusal
from gateway.keys import Budget
from gateway.ledger.entry import Settlement, Start, daily
from gateway.ledger.instances import Instance
from gateway.store import Session
from gateway.store.statements import Statements
from gateway.store.tables import booked_batches, calls, usage_daily
from gateway.usage import Sampling

log = logging.getLogger(__name__)

DELETED_AT_ONCE = 500
"""Rows that one step of the retention deletes: calls wait behind it no longer than behind another commit."""

CLOCKS_DIFFER = 3600.0
"""Seconds that the clocks of replicas may differ: a balance that is ahead by no more is another's."""

STARTED = (
    "id",
    "request_id",
    "key_id",
    "instance_id",
    "operation",
    "model",
    "day",
    "started_at",
    "status",
    "input_tokens",
    "cost",
    "estimated",
    "reserved",
)
SETTLED = (
    "status",
    "input_tokens",
    "cost",
    "estimated",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "web_search_requests",
    "web_fetch_requests",
    "code_execution_requests",
    "priced",
    "service_tier",
    "inference_geo",
    "speed",
    "http_status",
    "upstream_request_id",
    "ended_at",
    "id",
)


class _ChangedError(Exception):
    """A row is not `started` any more: the group is written again, with a closer look at each row."""


class Book:
    """Writes the tables.

    Args:
        statements: for the database.
        calendar: when days and months begin.
        instance: this process.
    """

    def __init__(self, statements: Statements, calendar: Calendar, instance: Instance) -> None:
        self._calendar = calendar
        self._instance = instance
        self._balances = Balances(statements)
        self._insert = statements.insert(calls, [calls.c[name] for name in STARTED])
        self._update = statements.compile(
            calls.update()
            .where(calls.c.id == bindparam("the_id"), calls.c.status == literal_column("'started'"))
            .values({name: bindparam(f"new_{name}") for name in SETTLED[:-1]}),
            [*(f"new_{name}" for name in SETTLED[:-1]), "the_id"],
        )
        sums = [column for column in usage_daily.c if not column.primary_key]
        self._add_up = statements.add_up(usage_daily, sums)

    def write(self, session: Session, items: list[Start | Settlement]) -> list[Refusal | None]:
        """Write starts and settlements together. The balances come first, so that replicas lock in one order.

        Returns:
            For each item why it is refused, None when it is written.
        """
        starts = [item for item in items if isinstance(item, Start)]
        settlements = [item for item in items if isinstance(item, Settlement)]
        if session.retried:
            status = self._status_of(session, items)
            starts = [start for start in starts if start.id not in status]
            settlements = [settlement for settlement in settlements if status.get(settlement.id) == "started"]
        refusals = self._balance(session, starts, settlements)
        rows = [(*start.row, start.reserved) for start in starts if start.id not in refusals]
        if rows:
            session.cursor.executemany(self._insert, rows)
        self._settle(session, settlements)
        return [refusals.get(item.id) for item in items]

    def recover(self, session: Session) -> int:
        """Close the calls of dead processes at what was estimated when they began, and free what they held.

        Returns:
            How many.
        """
        dead = self._instance.dead(session.connection)
        if not dead:
            return 0
        left = select(calls).where(calls.c.status == "started", calls.c.instance_id.in_(dead))
        settlements = [_interruption(row) for row in session.connection.execute(left)]
        if settlements:
            log.warning("Calls of a process that died are closed", extra={"calls": len(settlements)})
        self._balance(session, [], settlements)
        self._settle(session, settlements)
        self._instance.forget(session, dead)
        return len(settlements)

    def put_back(self, session: Session, now: float) -> None:
        """Bring balances that are ahead of the calendar back to today, for the start."""
        latest = self._calendar.day(now + CLOCKS_DIFFER)
        self._balances.put_back(session, self._calendar.day(now), latest)

    def look(self, session: Session, key_id: str, budget: Budget, day: str) -> Refusal | None:
        """Say which budget of a key is used up; None when something is left of each."""
        found = self._balances.load(session, [key_id]).get(key_id)
        balance = self._balances.current(session, found, key_id, day)
        balance.day_reserved = balance.month_reserved = 0
        return balance.refuse(budget, 0, self._calendar)

    def write_batch(
        self, session: Session, batch_id: str, rows: list[dict[str, Any]], sums: list[tuple[Any, ...]]
    ) -> bool:
        """Write down what a batch cost, unless it is already.

        Args:
            session: the transaction.
            batch_id: Anthropic's id.
            rows: of `calls`.
            sums: of `usage_daily`, all of one key and day.

        Returns:
            Whether it was written now.
        """
        if is_booked(session.connection, batch_id):
            return False
        for key_id, balance in self._balances.load(session, {row["key_id"] for row in rows}).items():
            balance.settle(rows[0]["day"], 0, sum(row["cost"] for row in rows if row["key_id"] == key_id))
            self._balances.save(session, [balance])
        mark = booked_batches.insert().values(batch_id=batch_id, booked_at=int(time.time() * 1000))
        session.connection.execute(mark)
        if rows:
            session.connection.execute(calls.insert(), rows)
            session.cursor.executemany(self._add_up, sums)
        return True

    def _balance(
        self, session: Session, starts: Sequence[Start], settlements: Sequence[Settlement]
    ) -> dict[int, Refusal]:
        """Settle and reserve in the balances; returns the starts that are refused, by id."""
        limited = [start for start in starts if start.reserved]
        wanted = {start.key_id for start in limited} | {settlement.key_id for settlement in settlements}
        balances = self._balances.load(session, wanted)
        touched: dict[str, Balance] = {}
        for start in limited:
            key_id, found = start.key_id, balances.get(start.key_id)
            current = self._balances.current(session, found, key_id, start.day)
            if current is not found:
                balances[key_id] = touched[key_id] = current
        for settlement in settlements:
            balance = balances.get(settlement.key_id)
            if balance is not None:
                balance.settle(settlement.day, settlement.reserved, settlement.cost)
                touched[settlement.key_id] = balance
        refusals: dict[int, Refusal] = {}
        for start in limited:
            balance = balances[start.key_id]
            refusal = balance.refuse(start.budget, start.reserved, self._calendar)
            if refusal is None:
                balance.reserve(start.day, start.reserved)
                touched[start.key_id] = balance
            else:
                refusals[start.id] = refusal
        self._balances.save(session, touched.values())
        return refusals

    def _settle(self, session: Session, settlements: Sequence[Settlement]) -> None:
        if not settlements:
            return
        session.cursor.executemany(self._update, [settlement.row for settlement in settlements])
        if session.cursor.rowcount != len(settlements):
            raise _ChangedError
        session.cursor.executemany(self._add_up, _add(settlement.daily for settlement in settlements))

    def _status_of(self, session: Session, items: Sequence[Start | Settlement]) -> dict[int, str]:
        """The state of rows that an attempt before may have written, or another replica closed."""
        ids = [item.id for item in items]
        rows = session.connection.execute(select(calls.c.id, calls.c.status).where(calls.c.id.in_(ids)))
        status = {row.id: row.status for row in rows}
        for item in items:
            if isinstance(item, Settlement) and status.get(item.id) == "interrupted":
                log.error("A call that runs here was closed by another process", extra={"call": item.id})
        return status


def is_booked(connection: Connection, batch_id: str) -> bool:
    """Whether a batch is in the ledger already."""
    booked = select(booked_batches.c.batch_id).where(booked_batches.c.batch_id == batch_id)
    return connection.execute(booked).first() is not None


def delete_older(session: Session, before: int) -> int:
    """Delete some settled rows with a lower id; returns how many."""
    old = select(calls.c.id).where(calls.c.id < before, calls.c.status != "started").order_by(calls.c.id)
    done = session.connection.execute(calls.delete().where(calls.c.id.in_(old.limit(DELETED_AT_ONCE))))
    return done.rowcount


def _interruption(row: Any) -> Settlement:
    """The settlement of a call that nobody is left to settle."""
    settled = (
        "interrupted", row.input_tokens, row.cost, True, 0, 0, 0, 0, 0, 0, 0, row.priced,
        None, None, None, None, None, int(time.time() * 1000), row.id,
    )  # fmt: skip
    sums = daily(row.day, row.key_id, row.model, Sampling(row.model, row.input_tokens), row.cost, estimated=1)
    return Settlement(row.id, row.key_id, row.day, row.reserved, row.cost, settled, sums)


def _add(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Add up rows of the same day, key and model, in an order that all replicas share."""
    sums: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for row in rows:
        name = row[:3]
        former = sums.get(name)
        if former is None:
            sums[name] = row
        else:
            sums[name] = name + tuple(map(sum, zip(former[3:], row[3:], strict=True)))
    return [sums[name] for name in sorted(sums)]
