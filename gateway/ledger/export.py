"""The whole ledger, call by call, for spreadsheets and programs."""

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from gateway.ledger.recent import COLUMNS, describe
from gateway.store.tables import calls

PAGE = 2_000
"""Rows that are read at a time: a ledger of millions takes no more memory than one of thousands."""

FIELDS = (
    "day", "request_id", "upstream_request_id", "key", "operation", "model", "status", "http_status",
    "started_at", "ended_at", "requests", "input_tokens", "output_tokens", "cache_read_input_tokens",
    "cache_creation_input_tokens", "cost_usd", "estimated",
)  # fmt: skip


def count_calls(connection: Connection, first: date | None, last: date | None) -> int:
    """How many rows an export has; arguments as of `export_calls`."""
    statement = select(func.count()).select_from(calls).where(*_within(first, last))
    return int(connection.execute(statement).scalar_one())


def export_calls(
    connection: Connection, name: Callable[[str], str], first: date | None, last: date | None
) -> Iterator[dict[str, Any]]:
    """All calls, the oldest first, those under way among them.

    Args:
        connection: of the database.
        name: gives a key's name for its id.
        first: the first day, in BUDGET_TIMEZONE; from the beginning when None.
        last: the last day, which belongs to it; until now when None.

    Returns:
        A dict with `FIELDS` for each.
    """
    after = -1
    page = (
        select(*COLUMNS, calls.c.id, calls.c.day)
        .where(*_within(first, last))
        .order_by(calls.c.id)
        .limit(PAGE)
    )
    while rows := connection.execute(page.where(calls.c.id > after)).all():
        for row in rows:
            yield {"day": row.day, **describe(row, name(row.key_id))}
        after = rows[-1].id


def _within(first: date | None, last: date | None) -> list[ColumnElement[bool]]:
    conditions = []
    if first is not None:
        conditions.append(calls.c.day >= first.isoformat())
    if last is not None:
        conditions.append(calls.c.day <= last.isoformat())
    return conditions
