"""Usage and cost by key, model and day, from the sums and never from the ledger itself."""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date
from typing import Any, Literal

from sqlalchemy import Connection, Select, func, literal, select

from gateway.prices import dollars
from gateway.store import Store
from gateway.store.tables import calls, usage_daily

Column = Literal["key", "key_id", "model", "day"]
COLUMNS: tuple[Column, ...] = ("key", "key_id", "model", "day")

_SUMS = {
    "requests": "requests",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
    "cost_usd": "cost",
    "estimated_requests": "estimated_requests",
}
_ORDER: tuple[Column, ...] = ("day", "key", "key_id", "model")
_SOURCES = {"key": "key_id", "key_id": "key_id", "model": "model", "day": "day"}


async def usage_report(
    store: Store,
    name: Callable[[str], str],
    *,
    first: date | None = None,
    last: date | None = None,
    group_by: Collection[Column] = ("key", "model", "day"),
    key_id: str | None = None,
) -> dict[str, Any]:
    """Add up usage and cost.

    Args:
        store: the database.
        name: gives a key's name for its id.
        first: the first day, in BUDGET_TIMEZONE; from the beginning when left out.
        last: the last day, which belongs to it; until now when left out.
        group_by: what the rows tell apart.
        key_id: only this key; all when left out.

    Returns:
        `rows` and `total` as `GET /api/v1/usage` shows them. `requests` counts calls under way too.
    """
    await store.flush()
    columns = [column for column in COLUMNS if column in group_by]
    settled, running = await store.read(_read, columns, first, last, key_id)
    sums: dict[tuple[str, ...], list[int]] = {}
    for row in settled:
        _add(sums, _group(columns, row, name), row[len(columns) :])
    for row in running:
        _add(sums, _group(columns, row, name), (row[-1], *[0] * (len(_SUMS) - 1)))
    total = [sum(column) for column in zip(*sums.values(), strict=True)] or [0] * len(_SUMS)
    order = sorted(sums, key=lambda group: [group[columns.index(c)] for c in _ORDER if c in columns])
    rows = [{**dict(zip(columns, group, strict=True)), **_shown(sums[group])} for group in order]
    return {"rows": rows, "total": _shown(total)}


def _read(
    connection: Connection, columns: list[Column], first: date | None, last: date | None, key_id: str | None
) -> tuple[list[Any], list[Any]]:
    def within(table: Any, statement: Select[Any]) -> Select[Any]:
        groups = [table.c[_SOURCES[column]] for column in columns]
        if first is not None:
            statement = statement.where(table.c.day >= first.isoformat())
        if last is not None:
            statement = statement.where(table.c.day <= last.isoformat())
        if key_id is not None:
            statement = statement.where(table.c.key_id == key_id)
        return statement.with_only_columns(*groups, *statement.selected_columns).group_by(
            *groups or [literal(1)]
        )

    sums = select(*(func.sum(usage_daily.c[source]) for source in _SUMS.values()))
    settled = connection.execute(within(usage_daily, sums)).all()
    running = select(func.count()).select_from(calls).where(calls.c.status == "started")
    return list(settled), list(connection.execute(within(calls, running)))


def _group(columns: list[Column], row: Any, name: Callable[[str], str]) -> tuple[str, ...]:
    return tuple(
        name(value) if column == "key" else value for column, value in zip(columns, row, strict=False)
    )


def _add(sums: dict[tuple[str, ...], list[int]], group: tuple[str, ...], values: Iterable[Any]) -> None:
    former = sums.get(group) or [0] * len(_SUMS)
    sums[group] = [one + int(other or 0) for one, other in zip(former, values, strict=True)]


def _shown(sums: Iterable[int]) -> Mapping[str, int | str]:
    row: dict[str, int | str] = dict(zip(_SUMS, sums, strict=True))
    row["cost_usd"] = dollars(int(row["cost_usd"]))
    return row
