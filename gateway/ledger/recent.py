"""The ledger's latest rows, as a console shows them: who used what, and nothing of what was said."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, func, select

from gateway import rfc3339
from gateway.prices import dollars
from gateway.store import Store
from gateway.store.tables import calls

LOOKED_AT = 100_000
"""Rows among which a key's own are looked for: an index by key would cost every call something."""

COLUMNS = (
    calls.c.request_id,
    calls.c.upstream_request_id,
    calls.c.key_id,
    calls.c.operation,
    calls.c.model,
    calls.c.status,
    calls.c.http_status,
    calls.c.started_at,
    calls.c.ended_at,
    calls.c.requests,
    calls.c.input_tokens,
    calls.c.output_tokens,
    calls.c.cache_read_tokens,
    calls.c.cache_write_5m_tokens,
    calls.c.cache_write_1h_tokens,
    calls.c.cost,
    calls.c.estimated,
)


async def recent_calls(
    store: Store, name: Callable[[str], str], *, limit: int, key_id: str | None = None
) -> list[dict[str, Any]]:
    """The latest calls, the newest first, those under way among them.

    Args:
        store: the database.
        name: gives a key's name for its id.
        limit: how many at most.
        key_id: only this key's; all when left out.

    Returns:
        `calls` as `GET /api/v1/usage/calls` shows them.
    """
    await store.flush()
    return [describe(row, name(row.key_id)) for row in await store.read(_read, limit, key_id)]


def _read(connection: Connection, limit: int, key_id: str | None) -> list[Any]:
    latest = select(*COLUMNS).order_by(calls.c.id.desc()).limit(limit)
    if key_id is not None:
        oldest = select(calls.c.id).order_by(calls.c.id.desc()).offset(LOOKED_AT - 1).limit(1)
        latest = latest.where(
            calls.c.key_id == key_id, calls.c.id >= func.coalesce(oldest.scalar_subquery(), 0)
        )
    return list(connection.execute(latest))


def describe(row: Any, key: str) -> dict[str, Any]:
    """A row with `COLUMNS` as people and programs are shown it, under its key's name."""
    return {
        "request_id": row.request_id,
        "upstream_request_id": row.upstream_request_id,
        "key": key,
        "operation": row.operation,
        "model": row.model,
        "status": row.status,
        "http_status": row.http_status,
        "started_at": rfc3339.write(row.started_at),
        "ended_at": None if row.ended_at is None else rfc3339.write(row.ended_at),
        "requests": row.requests,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cache_read_input_tokens": row.cache_read_tokens,
        "cache_creation_input_tokens": row.cache_write_5m_tokens + row.cache_write_1h_tokens,
        "cost_usd": dollars(row.cost),
        "estimated": bool(row.estimated),
    }
