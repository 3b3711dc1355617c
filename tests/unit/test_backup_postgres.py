"""PostgreSQL is kept by its own tools, with the commands of docs/backup.md."""

import asyncio
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from gateway import cli
from gateway.audit import Audit
from gateway.keys import KeyRing
from gateway.settings import VARIABLES
from gateway.store import Store
from gateway.store.tables import metadata
from tests.servers import binary

PAGE = Path(__file__).parents[2] / "docs" / "backup.md"
DOCUMENTED = "postgresql://gateway@db/gateway"


def commands(url: str) -> list[list[str]]:
    """The page's two lines, for this database."""
    lines = re.findall(r"^pg_(?:dump|restore) .+$", PAGE.read_text(), re.MULTILINE)
    assert all(DOCUMENTED in line for line in lines)
    words = [shlex.split(line.replace(DOCUMENTED, url)) for line in lines]
    return [[binary(program), *arguments] for program, *arguments in words]


async def fill(store: Store) -> None:
    await KeyRing(store, "an admin key of 32 characters or more").create({"name": "kitchen"})
    trail = Audit(store)
    trail.record("command", "create_key", "kitchen")
    await trail.close()


def rows(url: str) -> dict[str, list[Any]]:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return {
                table.name: sorted(map(tuple, connection.execute(table.select())))
                for table in metadata.sorted_tables
            }
    finally:
        engine.dispose()


def test_dump_and_restore(postgres_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    server = make_url(postgres_server)
    engine = create_engine(server.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE DATABASE dumped"))
    engine.dispose()
    url = server.set(drivername="postgresql+psycopg", database="dumped").render_as_string()
    store = Store(url)
    asyncio.run(fill(store))
    store.close_now()
    before = rows(url)
    dump, put_back = commands(server.set(drivername="postgresql", database="dumped").render_as_string())

    subprocess.run(dump, cwd=tmp_path, check=True, capture_output=True)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM keys"))
        connection.execute(text("UPDATE audit SET actor = 'nobody'"))
    engine.dispose()
    assert rows(url) != before
    subprocess.run(put_back, cwd=tmp_path, check=True, capture_output=True)

    assert rows(url) == before
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("UPSTREAM", "sandbox")
    assert cli.main(["--env-file", os.devnull, "verify"]) == 0
