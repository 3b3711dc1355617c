import asyncio
import resource
import sqlite3
import subprocess
import sys
import textwrap
import threading
from contextlib import ExitStack, closing
from shutil import copytree

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from gateway.errors import ServiceUnavailable
from gateway.store import Store, StoreError, migrate
from gateway.store.tables import booked_batches, metadata

HEAD = max(path.name[:4] for path in (migrate.SCRIPTS / "versions").glob("[0-9]*.py"))


def insert(session, name):
    session.connection.execute(booked_batches.insert().values(batch_id=name, booked_at=1))
    return name


async def eventually(store, expected):
    for _ in range(1000):
        found = await store.read(names)
        if found == expected:
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"{found}, not {expected}")


def names(connection):
    return sorted(connection.execute(text("SELECT batch_id FROM booked_batches")).scalars())


async def test_the_migrations_make_exactly_the_tables(store):
    def differences(connection):
        return compare_metadata(MigrationContext.configure(connection), metadata)

    assert await store.read(differences) == []


async def test_a_power_cut_costs_the_last_moments_and_never_the_file(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'gateway.db'}")

    def settings(connection):
        return [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        ]

    assert await store.read(settings) == ["wal", 1]
    assert await store.write(lambda session: settings(session.connection)) == ["wal", 1]
    await store.close()


async def test_writes_that_wait_together_share_a_commit(store):
    await store.flush()
    before = store.writer.commits
    results = await asyncio.gather(*(store.write(insert, f"b{number:03}") for number in range(100)))
    assert results == [f"b{number:03}" for number in range(100)]
    assert store.writer.commits - before <= 5
    assert await store.read(names) == results


async def test_one_failure_harms_none_of_its_group(store):
    await store.write(insert, "b5")
    results = await asyncio.gather(
        *(store.write(insert, f"b{number}") for number in range(10)), return_exceptions=True
    )
    failed = [number for number, result in enumerate(results) if isinstance(result, Exception)]
    assert failed == [5]
    assert await store.read(names) == [f"b{number}" for number in range(10)]


async def test_what_fails_half_way_leaves_nothing(store):
    def half(session, name):
        insert(session, name)
        raise KeyError(name)

    results = await asyncio.gather(
        store.write(insert, "b1"), store.write(half, "b2"), store.write(insert, "b3"), return_exceptions=True
    )
    assert [type(result) for result in results] == [str, KeyError, str]
    assert await store.read(names) == ["b1", "b3"]


async def test_items_of_a_batch_are_written_at_once(store):
    calls = []

    def batch(session, items):
        calls.append(len(items))
        return [insert(session, item) for item in items]

    await asyncio.gather(*(store.batch(batch, f"b{number:02}") for number in range(20)))
    assert sum(calls) == 20
    assert max(calls) > 10


async def test_a_posted_write_is_done_without_anybody_waiting(store):
    store.post(lambda session, items: [insert(session, item) for item in items], "quiet")
    await eventually(store, ["quiet"])


async def test_flush_waits_for_what_is_posted(store):
    for number in range(600):
        store.post(lambda session, items: [insert(session, item) for item in items], f"b{number:03}")
    await store.flush()
    assert len(await store.read(names)) == 600


async def test_closing_writes_all_that_waits(database_url):
    store = Store(database_url)
    futures = [store.write(insert, f"b{number}") for number in range(5)]
    store.post(lambda session, items: [insert(session, item) for item in items], "posted")
    await store.close()
    assert await asyncio.gather(*futures) == [f"b{number}" for number in range(5)]
    with pytest.raises(ServiceUnavailable):
        store.write(insert, "late")
    again = Store(database_url)
    assert len(await again.read(names)) == 6
    await again.close()


async def test_a_caller_who_left_does_not_undo_the_write(store):
    future = store.write(insert, "left")
    future.cancel()
    await store.flush()
    assert await store.read(names) == ["left"]


async def test_a_database_that_fails_as_a_whole_is_said_and_posts_are_kept(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/gateway.db")
    blocker = sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)
    store.writer._connect(here=False).cursor.execute("PRAGMA busy_timeout=50")
    blocker.execute("BEGIN IMMEDIATE")
    store.post(lambda session, items: [insert(session, item) for item in items], "kept")
    with pytest.raises(ServiceUnavailable, match="cannot be written"):
        await store.write(insert, "told")
    blocker.execute("ROLLBACK")
    await eventually(store, ["kept"])
    assert store.writer.failures == 1
    await store.close()
    blocker.close()


@pytest.fixture
async def embedded(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.store.writer.SLOW", 600.0)  # no disk of a test is slow unless it says so
    store = Store(f"sqlite:///{tmp_path}/gateway.db")
    yield store
    await store.close()


class Writes:
    """A batch that remembers the threads that wrote it."""

    def __init__(self):
        self.threads = []

    def __call__(self, session, items):
        self.threads.append(threading.current_thread().name)
        return [insert(session, item) for item in items]


async def test_brief_writes_are_made_in_the_event_loop_and_any_function_by_the_thread(embedded):
    here, batch = threading.current_thread().name, Writes()
    for number in range(130):
        await embedded.batch(batch, f"b{number:03}")
    assert set(batch.threads) == {here, "store-writer"}  # whose turn keeps the log short
    assert batch.threads.count("store-writer") <= 6
    assert await embedded.write(lambda session: threading.current_thread().name) == "store-writer"
    assert len(await embedded.read(names)) == 130


async def test_the_event_loop_does_not_wait_for_another_process(embedded, tmp_path):
    blocker = sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    batch = Writes()
    waiting = [embedded.batch(batch, f"b{number}") for number in range(3)]
    ticks = 0
    for _ in range(20):
        await asyncio.sleep(0.01)
        ticks += 1
    assert not any(future.done() for future in waiting)
    assert ticks == 20
    blocker.execute("ROLLBACK")
    blocker.close()
    assert await asyncio.gather(*waiting) == ["b0", "b1", "b2"]
    assert batch.threads == ["store-writer"]


async def test_after_a_slow_commit_the_thread_makes_those_that_follow(embedded, monkeypatch):
    monkeypatch.setattr("gateway.store.writer.SLOW", 0.0)
    before, after = Writes(), Writes()
    while threading.current_thread().name not in before.threads:
        await embedded.batch(before, f"before{len(before.threads)}")
    for number in range(5):
        await embedded.batch(after, f"after{number}")
    assert set(after.threads) == {"store-writer"}


async def test_one_failure_harms_none_of_a_brief_group(embedded):
    batch = Writes()
    await embedded.batch(batch, "b5")
    results = await asyncio.gather(
        *(embedded.batch(batch, f"b{number}") for number in range(10)), return_exceptions=True
    )
    assert [number for number, result in enumerate(results) if isinstance(result, Exception)] == [5]
    assert await embedded.read(names) == [f"b{number}" for number in range(10)]


async def test_what_is_posted_goes_with_the_next_commit_where_it_must(embedded, monkeypatch):
    monkeypatch.setattr("gateway.store.writer.LINGER", 60.0)
    order = []

    def batch(_session, items):
        order.extend(items)
        return items

    for _ in range(3):  # past the thread's turn, which takes all there is
        await embedded.batch(batch, "before")
    order.clear()
    embedded.post(batch, "posted")
    await embedded.batch(batch, "alone")
    assert order == ["alone"]
    embedded.hurry()
    await embedded.batch(batch, "awaited")
    assert sorted(order[1:]) == ["awaited", "posted"]


async def test_the_log_stays_short_however_many_commits(embedded, tmp_path):
    for number in range(3000):
        await embedded.batch(Writes(), f"{number:05}{'x' * 500}")
    assert (tmp_path / "gateway.db-wal").stat().st_size < 12_000_000  # 1,000 pages and what came meanwhile


@pytest.mark.parametrize("instead", [None, b""])
async def test_no_connection_is_opened_to_another_file(embedded, tmp_path, instead):
    """SQLite takes a file's log for that of the one in its place, and deletes it where that is empty."""
    await embedded.write(insert, "before")
    file, away = tmp_path / "gateway.db", tmp_path / "away.db"
    log = file.with_name("gateway.db-wal")
    with embedded.engine.connect() as known:
        written = log.read_bytes()
        assert written
        file.rename(away)
        if instead is not None:
            file.write_bytes(instead)
        more_than_are_kept = (embedded.engine.connect() for _ in range(10))
        with pytest.raises(StoreError, match="removed or replaced"), ExitStack() as opened:
            list(map(opened.enter_context, more_than_are_kept))
        assert names(known) == ["before"]

    assert log.read_bytes() == written
    assert (file.read_bytes() if file.exists() else None) == instead
    file.unlink(missing_ok=True)
    away.rename(file)
    assert await embedded.read(names) == ["before"]
    with closing(sqlite3.connect(file)) as another:
        assert another.execute("SELECT batch_id FROM booked_batches").fetchall() == [("before",)]


async def test_what_is_posted_outlives_a_database_that_takes_no_writes(database_url, monkeypatch):
    """Whichever statement meets it: a full disk, a lock, one that is set to read only."""
    monkeypatch.setattr("gateway.store.writer.RETRY_AFTER", 0.1)
    store = Store(database_url)
    failing = True
    begin = store.writer._begin

    def read_only(*, here):
        session = begin(here=here)
        if store.embedded:
            session.cursor.execute(f"PRAGMA query_only={int(failing)}")
        elif failing:
            session.cursor.execute("SET TRANSACTION READ ONLY")
        return session

    monkeypatch.setattr(store.writer, "_begin", read_only)
    store.post(lambda session, items: [insert(session, item) for item in items], "posted")
    with pytest.raises(ServiceUnavailable):
        await store.write(insert, "awaited")
    assert store.writer.failing
    failing = False
    await eventually(store, ["posted"])
    assert not store.writer.failing
    await store.close()


async def test_a_queue_that_is_too_long_is_refused(store, monkeypatch):
    monkeypatch.setattr("gateway.store.writer.LONGEST_QUEUE", 3)
    begun, gate = threading.Event(), threading.Event()
    held = store.write(lambda session: begun.set() or gate.wait(10))
    assert await asyncio.to_thread(begun.wait, 10)
    waiting = [store.write(insert, f"b{number}") for number in range(3)]
    with pytest.raises(ServiceUnavailable, match="cannot keep up"):
        store.write(insert, "b3")
    assert store.writer.queued == 3
    gate.set()
    await asyncio.gather(held, *waiting)
    assert store.writer.queued == 0


async def test_what_the_database_does_not_take_is_tried_again_once_in_a_while(store, monkeypatch, caplog):
    """However many are refused meanwhile: no try of theirs takes what is kept along, or starts another."""
    monkeypatch.setattr("gateway.store.writer.RETRY_AFTER", 0.2)
    monkeypatch.setattr("gateway.store.writer.LARGEST_GROUP", 40)
    broken, tries = True, 0
    begin, take = store.writer._begin, store.writer._take

    def begin_unless_full(*, here):
        if broken:
            raise OSError("no space left on device")
        return begin(here=here)

    def take_and_count(*, posted):
        nonlocal tries
        group = take(posted=posted)
        tries += any(operation.item == "kept 0" for operation in group)
        return group

    def batch(session, items):
        return [insert(session, item) for item in items]

    monkeypatch.setattr(store.writer, "_begin", begin_unless_full)
    monkeypatch.setattr(store.writer, "_take", take_and_count)
    for number in range(100):
        store.post(batch, f"kept {number}")
    started = asyncio.get_running_loop().time()
    for number in range(50):
        with pytest.raises(ServiceUnavailable, match="cannot be written"):
            await store.batch(batch, f"refused {number}")
        await asyncio.sleep(0.01)
    passed = asyncio.get_running_loop().time() - started
    assert 1 <= tries <= passed / 0.2 + 2
    assert sum(isinstance(thread, threading.Timer) for thread in threading.enumerate()) <= 1
    assert len([one for one in caplog.records if one.levelname == "ERROR"]) <= passed / 0.2 + 2
    broken = False
    await eventually(store, sorted(f"kept {number}" for number in range(100)))


def test_a_newer_schema_is_refused_with_a_clear_message(database_url):
    store = Store(database_url)
    store.write_now(
        lambda session: session.connection.execute(text("UPDATE alembic_version SET version_num='9'"))
    )
    store.close_now()
    with pytest.raises(StoreError, match="newer version"):
        Store(database_url)


def test_a_schema_in_use_is_copied_before_it_is_changed(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/gateway.db"
    Store(url, tmp_path / "snapshots").close_now()
    assert not (tmp_path / "snapshots").exists()  # a new database holds nothing to lose
    steps = tmp_path / "migrations"
    copytree(migrate.SCRIPTS, steps)
    (steps / "versions" / "9999_more.py").write_text(
        f"from alembic import op\nrevision = '9999'\ndown_revision = '{HEAD}'\n"
        "def upgrade():\n    op.execute('CREATE TABLE more (id INTEGER)')\n"
    )
    monkeypatch.setattr(migrate, "SCRIPTS", steps)
    store = Store(url, tmp_path / "snapshots")
    store.write_now(insert, "after")
    assert store.read_now(lambda c: c.execute(text("SELECT count(*) FROM more")).scalar()) == 0
    store.close_now()
    (snapshot,) = (tmp_path / "snapshots").iterdir()
    assert snapshot.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(snapshot) as copy:
        assert copy.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]
    copy.close()


def test_a_copy_that_fails_changes_nothing_and_leaves_nothing(tmp_path):
    url = f"sqlite:///{tmp_path}/gateway.db"
    Store(url).close_now()
    with closing(sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)) as old:
        old.execute("UPDATE alembic_version SET version_num = '0001'")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, limits[1]))  # as on a full disk
        try:
            with pytest.raises(StoreError, match=r"snapshot .* failed"):
                Store(url, tmp_path / "snapshots")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert list((tmp_path / "snapshots").iterdir()) == []
        assert old.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)


def test_a_migration_that_fails_changes_nothing(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/gateway.db"
    Store(url).close_now()
    steps = tmp_path / "migrations"
    copytree(migrate.SCRIPTS, steps)
    (steps / "versions" / "9999_bad.py").write_text(
        f"from alembic import op\nrevision = '9999'\ndown_revision = '{HEAD}'\n"
        "def upgrade():\n    op.execute('CREATE TABLE half (id INTEGER)')\n    op.execute('NONSENSE')\n"
    )
    with monkeypatch.context() as patch:
        patch.setattr(migrate, "SCRIPTS", steps)
        with pytest.raises(Exception, match="NONSENSE"):
            Store(url)
    store = Store(url)
    tables = store.read_now(lambda c: c.execute(text("SELECT name FROM sqlite_master")).scalars().all())
    assert "half" not in tables
    store.close_now()


def test_processes_that_start_together_migrate_once(tmp_path, database_url):
    script = textwrap.dedent(
        """
        import sys
        from gateway.store import Store
        Store(sys.argv[1]).close_now()
        """
    )
    started = [subprocess.Popen([sys.executable, "-c", script, database_url]) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
