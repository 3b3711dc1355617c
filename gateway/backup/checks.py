"""Check a database: is the file sound, has nobody changed the audit trail, do the ledger's sums add up?"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import Connection, Engine, Select, create_engine, func, select
from sqlalchemy.exc import DBAPIError

from gateway import audit
from gateway.backup.archive import DATA, DATABASE, Manifest, Progress, read
from gateway.backup.database import require
from gateway.backup.scratch import scratch
from gateway.store.migrate import StoreError, latest_schema, refuse_newer, schema, upgrade
from gateway.store.tables import budgets, calls, contents, usage_daily

CONTENTS = f"{DATA}results/"

ContentSize = Callable[[str], int | None]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has found.

    Attributes:
        check: its name.
        detail: what was looked at, or what is wrong.
        ok: whether all is well.
    """

    check: str
    detail: str
    ok: bool = True


def check_archive(
    stream: BinaryIO, parent: Path | None, progress: Progress
) -> tuple[Manifest, list[Finding]]:
    """Check an archive: its checksums, then its database, brought to this version's schema in a copy.

    Args:
        stream: the archive; a pipe will do.
        parent: where to make the copy; the system's own for such files when None.
        progress: told of the bytes that are read.

    Raises:
        ArchiveError: it is damaged, not whole, or none of ours.
        BackupError: its database is damaged.
        StoreError: its schema is newer than this version, or the migration fails.
    """
    with scratch(parent) as folder:
        manifest = read(stream, folder, lambda name: name == DATABASE, progress)
        require(folder / DATABASE, manifest)
        url = f"sqlite:///{folder / DATABASE}"
        with _opened(url) as engine:
            upgrade(engine)
        whole = f"{len(manifest.files)} files and {sum(manifest.rows.values())} rows, as the manifest says"

        def size(content_id: str) -> int | None:
            file = manifest.files.get(CONTENTS + content_id)
            return file.bytes if file else None

        return manifest, [Finding("archive", whole), *check_database(url, size)]


def check_database(url: str, content_size: ContentSize | None = None) -> list[Finding]:
    """Check a database as of one moment; a server that runs on it goes on meanwhile.

    Args:
        url: SQLAlchemy's URL.
        content_size: the bytes that a content has, None where it is gone; without it none is looked at.

    Raises:
        StoreError: it cannot be opened, or its schema is another than this version's.
    """
    with _opened(url) as engine, engine.connect() as connection:
        embedded = engine.dialect.name == "sqlite"
        connection.exec_driver_sql(
            "BEGIN" if embedded else "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
        )
        _require_schema(connection)
        checks: list[Callable[[Connection], Finding]] = [_check_audit, _check_ledger, _check_budgets]
        if embedded:
            checks = [_check_file, *checks]
        findings = [check(connection) for check in checks]
        if content_size is not None:
            findings.append(_check_contents(connection, content_size))
        return findings


@contextmanager
def _opened(url: str) -> Iterator[Engine]:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        yield engine
    except DBAPIError as fault:
        reason = " ".join(str(fault.orig).split())
        raise StoreError(f"the database {engine.url} cannot be read: {reason}") from fault
    finally:
        engine.dispose()


def _require_schema(connection: Connection) -> None:
    found, known = schema(connection), latest_schema()
    if found == known:
        return
    if found is None:
        raise StoreError("the database has no schema yet: no gateway has been started with it")
    refuse_newer(found)
    raise StoreError(
        f"the database has schema {found}; this version's is {known}, to which its start brings it"
    )


def _check_file(connection: Connection) -> Finding:
    told = connection.exec_driver_sql("PRAGMA integrity_check(5)").scalars().all()
    sound = list(told) == ["ok"]
    return Finding(
        "file", "no damaged page, no index that lies" if sound else "; ".join(map(str, told)), sound
    )


def _check_audit(connection: Connection) -> Finding:
    verdict = audit.verify(connection)
    if verdict.broken_at is None:
        return Finding("audit", f"{verdict.rows} rows, and the chain is whole")
    return Finding("audit", f"row {verdict.broken_at} was changed or is missing", ok=False)


def _check_ledger(connection: Connection) -> Finding:
    """The settled rows of each key, model and day, and their sum: equal, but for what went by age."""
    settled = calls.c.status != "started"
    first = connection.execute(select(func.min(calls.c.day)).where(settled)).scalar()
    groups = (calls.c.day, calls.c.key_id, calls.c.model)
    written = calls.c.cache_write_5m_tokens + calls.c.cache_write_1h_tokens
    sums = (calls.c.requests, calls.c.input_tokens, calls.c.output_tokens, calls.c.cache_read_tokens, written)
    rows = _by_name(
        connection,
        select(*groups, *(func.sum(column) for column in (*sums, calls.c.cost)))
        .where(settled)
        .group_by(*groups),
    )
    names = (
        "requests", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cost",
    )  # fmt: skip
    daily = _by_name(
        connection,
        select(
            usage_daily.c.day,
            usage_daily.c.key_id,
            usage_daily.c.model,
            *(usage_daily.c[name] for name in names),
        ),
    )
    for name in sorted(rows.keys() | {name for name in daily if first is not None and name[0] > first}):
        row, total = rows.get(name, (0,) * 6), daily.get(name, (0,) * 6)
        # Of the oldest day some rows may be gone by age already.
        agree = row == total if name[0] != first else all(map(int.__le__, row, total))
        if not agree:
            return Finding("ledger", f"the sums of {' '.join(name)} are not those of its calls", ok=False)
    return Finding("ledger", f"{sum(row[0] for row in rows.values())} calls, and their sums agree")


def _check_budgets(connection: Connection) -> Finding:
    """What each key has spent in its running day and month, by its balance and by the ledger's sums."""
    day = func.coalesce(func.sum(usage_daily.c.cost), 0)
    balances = connection.execute(select(budgets)).all()
    for balance in balances:
        own = usage_daily.c.key_id == balance.key_id
        month = usage_daily.c.day.startswith(balance.month)
        for spent, within in (
            (balance.day_spent, usage_daily.c.day == balance.day),
            (balance.month_spent, month),
        ):
            if int(connection.execute(select(day).where(own, within)).scalar_one()) != spent:
                return Finding("budgets", f"the balance of {balance.key_id} is not what it spent", ok=False)
    return Finding("budgets", f"{len(balances)} balances agree with the ledger")


def _check_contents(connection: Connection, content_size: ContentSize) -> Finding:
    """What apps asked to keep. One that is missing was deleted since the moment at which we look."""
    rows = connection.execute(select(contents.c.id, contents.c.size)).all()
    found = [(row.id, row.size, content_size(row.id)) for row in rows]
    for content_id, expected, size in found:
        if size not in (None, expected):
            return Finding("contents", f"{content_id} has {size} bytes, not {expected}", ok=False)
    deleted = sum(size is None for *_, size in found)
    return Finding("contents", f"{len(found) - deleted} whole" + (f", {deleted} deleted" if deleted else ""))


def _by_name(connection: Connection, statement: Select[Any]) -> dict[tuple[str, ...], tuple[int, ...]]:
    return {tuple(row[:3]): tuple(map(int, row[3:])) for row in connection.execute(statement)}
