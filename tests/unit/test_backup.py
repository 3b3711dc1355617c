"""Backup, restore and verify as commands, on databases that no server uses at the moment."""

import asyncio
import hashlib
import io
import json
import os
import pty
import resource
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from sqlalchemy import Connection, Select

from gateway import cli
from gateway.audit import Audit
from gateway.backup import ArchiveError, BackupError, Places, checks, create, restore
from gateway.backup.archive import DATABASE, MANIFEST
from gateway.backup.scratch import scratch
from gateway.keys import KeyRing
from gateway.ledger.instances import Instance
from gateway.settings import NAMES
from gateway.store import Store, migrate

ADMIN_KEY = "sk-gw-the-admin-key-of-this-test-0123456789"
RESULT = b"the answer that somebody asked to keep"


class Site:
    """A gateway's folders, and its commands."""

    def __init__(self, folder: Path) -> None:
        self.data, self.config = folder / "data", folder / "config"
        folder.mkdir(exist_ok=True)
        self.env_file = folder / "env"
        self.env_file.write_text(f"UPSTREAM=sandbox\nDATA_DIR={self.data}\nCONFIG_DIR={self.config}\n")

    def run(self, *arguments: str | Path) -> int:
        return cli.main(["--env-file", str(self.env_file), *map(str, arguments)])

    def fill(self) -> None:
        """One of everything that lasts."""
        self.data.mkdir()
        store = Store(f"sqlite:///{self.data / 'gateway.db'}")

        async def write() -> None:
            await KeyRing(store, ADMIN_KEY).create({"name": "kitchen"})
            trail = Audit(store)
            trail.record("command", "create_key", "kitchen")
            trail.record("command", "update_key", "kitchen")
            await trail.close()

        asyncio.run(write())
        store.close_now()
        (self.data / "admin-key").write_text(ADMIN_KEY)
        (self.data / "results" / "key_1").mkdir(parents=True)
        (self.data / "results" / "key_1" / "msg_1.json").write_bytes(RESULT)
        self.config.mkdir()
        (self.config / "prices.toml").write_text('version = "own"\n')
        for name in (
            "instances/a.lock",
            "snapshots/old.db",
            "backups/old.tar",
            ".hidden/draft",
            "results/.draft",
            "results/c.part",
        ):
            (self.data / name).parent.mkdir(exist_ok=True)
            (self.data / name).write_text("not for the archive")

    def dump(self) -> list[str]:
        """The whole database as SQL."""
        with closing(sqlite3.connect(self.data / "gateway.db")) as connection:
            return list(connection.iterdump())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    made = Site(tmp_path / "here")
    made.fill()
    return made


@pytest.fixture
def archive(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = tmp_path / "backup.tar"
    assert site.run("backup", path) == 0
    capsys.readouterr()
    return path


@pytest.fixture
def elsewhere(tmp_path: Path) -> Site:
    return Site(tmp_path / "there")


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        found = {}
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            found[member.name] = content.read()
        return found


def rewrite(path: Path, change: Callable[[dict[str, bytes]], None], *, honest: bool = False) -> None:
    """Change an archive's members; the manifest still says what it said, unless `honest`."""
    content = members(path)
    change(content)
    if honest:
        manifest = json.loads(content.pop(MANIFEST))
        manifest["files"] = {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in content.items()
        }
        content[MANIFEST] = json.dumps(manifest).encode()
    with tarfile.open(path, "w") as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def test_an_archive_holds_all_that_must_last_and_says_so(site: Site, archive: Path) -> None:
    content = members(archive)

    assert list(content) == [
        DATABASE,
        "data/admin-key",
        "data/results/key_1/msg_1.json",
        "config/prices.toml",
        MANIFEST,
    ]
    manifest = json.loads(content.pop(MANIFEST))
    assert manifest["format"] == 1
    assert manifest["files"] == {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in content.items()
    }
    assert (manifest["rows"]["keys"], manifest["rows"]["audit"]) == (1, 2)
    assert archive.stat().st_mode & 0o777 == 0o600
    with tarfile.open(archive) as tar:
        assert {member.mode for member in tar} == {0o600}
        assert tar.getmember("data/admin-key").mtime == int((site.data / "admin-key").stat().st_mtime)


def test_there_and_back(
    site: Site, archive: Path, elsewhere: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert elsewhere.run("restore", archive, "--json") == 0

    told = json.loads(capsys.readouterr().out)
    assert (told["data_dir"], told["replaced"], told["prices_kept"]) == (str(elsewhere.data), None, False)
    assert elsewhere.dump() == site.dump()
    assert (elsewhere.data / "admin-key").read_text() == ADMIN_KEY
    assert (elsewhere.data / "results/key_1/msg_1.json").read_bytes() == RESULT
    assert (elsewhere.config / "prices.toml").read_text() == 'version = "own"\n'
    assert sorted(path.name for path in elsewhere.data.iterdir()) == ["admin-key", "gateway.db", "results"]
    for path in (elsewhere.data, *elsewhere.data.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_through_a_pipe_and_compressed(site: Site, elsewhere: Site, tmp_path: Path) -> None:
    def command(of: Site, *arguments: str) -> list[str]:
        return [sys.executable, "main.py", "--env-file", str(of.env_file), *arguments]

    packed = tmp_path / "backup.tar.gz"
    environment = {"PATH": os.environ["PATH"]}
    made = subprocess.run(command(site, "backup", "-"), capture_output=True, check=True, env=environment)
    packed.write_bytes(subprocess.run(["gzip"], input=made.stdout, capture_output=True, check=True).stdout)
    put = subprocess.run(
        command(elsewhere, "restore", "-"),
        input=packed.read_bytes(),
        capture_output=True,
        check=True,
        env=environment,
    )

    assert (made.stderr, put.stderr) == (b"", b"")
    assert elsewhere.dump() == site.dump()


def test_into_a_folder_and_never_over_another(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "archives"
    folder.mkdir()

    assert site.run("backup", folder) == 0
    (made,) = folder.iterdir()
    assert made.name.startswith("anthropic-gateway-")
    before = made.read_bytes()

    assert site.run("backup", made) == 1
    assert capsys.readouterr().err == f"{made} exists already; --force replaces it\n"
    assert made.read_bytes() == before
    assert site.run("backup", made, "--force") == 0
    assert list(folder.iterdir()) == [made]


def test_an_archive_never_holds_another(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.run("backup", site.data / "mine.tar") == 1
    assert str(site.data / "backups") in capsys.readouterr().err

    assert site.run("backup", site.data / "backups" / "mine.tar") == 0
    assert site.run("backup", site.data / "backups" / "next.tar") == 0
    assert not any("tar" in name for name in members(site.data / "backups" / "next.tar"))


def test_existing_data_are_refused_or_moved_aside(
    site: Site, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = site.dump()
    with closing(sqlite3.connect(site.data / "gateway.db")) as connection:
        connection.execute("UPDATE keys SET name = 'garden'")
        connection.commit()
    (site.config / "prices.toml").write_text('version = "newer"\n')
    changed = site.dump()

    assert site.run("restore", archive) == 1
    assert "holds data already (gateway.db" in capsys.readouterr().err
    assert site.dump() == changed

    assert site.run("restore", archive, "--force", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert site.dump() == before
    replaced = Path(told["replaced"])
    assert replaced.stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in replaced.iterdir()) == ["admin-key", "gateway.db", "results"]
    assert (told["prices_kept"], (site.config / "prices.toml").read_text()) == (True, 'version = "newer"\n')
    assert not list(site.data.glob(".half-done-*"))


def test_prices_that_the_archive_does_not_have_stay(
    site: Site, tmp_path: Path, elsewhere: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = site.config / "prices.toml"
    prices.unlink()
    assert site.run("backup", tmp_path / "backup.tar") == 0
    assert elsewhere.run("restore", tmp_path / "backup.tar") == 0
    assert "was left as it is" not in capsys.readouterr().out

    prices.write_text('version = "newer"\n')
    assert site.run("restore", tmp_path / "backup.tar", "--force") == 0
    assert f"{prices} was left as it is" in capsys.readouterr().out
    assert prices.read_text() == 'version = "newer"\n'


def test_prices_where_the_config_folder_cannot_be_written(
    archive: Path, elsewhere: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    with elsewhere.env_file.open("a") as file:
        file.write("CONFIG_DIR=/dev/null/config\n")
    assert elsewhere.run("restore", archive) == 0
    assert "/dev/null/config/prices.toml was left as it is" in capsys.readouterr().out
    assert (elsewhere.data / "gateway.db").is_file()


def test_what_is_restored_is_on_the_disk(
    site: Site, archive: Path, elsewhere: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, synced = os.fsync, set()

    def sync(handle: int) -> None:
        real(handle)
        synced.add(os.fstat(handle).st_ino)

    monkeypatch.setattr(os, "fsync", sync)
    assert elsewhere.run("restore", archive) == 0

    lasting = [elsewhere.data, *(path for path in elsewhere.data.rglob("*") if path.is_file())]
    assert synced >= {path.stat().st_ino for path in lasting}


def test_what_an_operator_left_in_the_folder_comes_along(
    site: Site, elsewhere: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a backup takes in, a restore takes out."""
    left = ["gateway.db~", "gateway (copy).db", "données.txt", "notes/.git/HEAD", "notes/to do"]
    left += ["Icon\r", "C:\\notes.txt"]  # as macOS names files, and programs made for Windows
    for name in left:
        (site.data / name).parent.mkdir(exist_ok=True, parents=True)
        (site.data / name).write_text(name)

    assert site.run("backup", tmp_path / "backup.tar") == 0
    (elsewhere.data / "lost+found").mkdir(parents=True)  # as on each new disk
    assert elsewhere.run("restore", tmp_path / "backup.tar") == 0, capsys.readouterr().err

    found = {name for name in left if (elsewhere.data / name).exists()}
    assert found == {name for name in left if ".git" not in name}


@pytest.mark.parametrize("linked", [False, True])
def test_no_restore_under_a_running_server(
    site: Site, archive: Path, capsys: pytest.CaptureFixture[str], linked: bool, tmp_path: Path
) -> None:
    database = site.data / "gateway.db"
    if linked:
        database = tmp_path / "link.db"
        database.symlink_to(site.data / "gateway.db")
    store = Store(f"sqlite:///{database}")
    instance = Instance(store)
    try:
        assert site.run("restore", archive, "--force") == 1
        assert capsys.readouterr().err == f"a server runs on {site.data}: stop it first\n"
    finally:
        asyncio.run(instance.close())
        store.close_now()

    assert site.run("restore", archive, "--force") == 0


def test_a_server_that_starts_while_an_archive_is_unpacked(site: Site, archive: Path) -> None:
    places = Places(site.data, site.data / "gateway.db", site.config / "prices.toml")
    running: list[Instance] = []
    store = Store(f"sqlite:///{places.database}")

    def start(_: int) -> None:
        if not running:
            running.append(Instance(store))

    with archive.open("rb") as stream, pytest.raises(BackupError, match="a server runs on"):
        restore(places, stream, start, force=True)

    asyncio.run(running[0].close())
    store.close_now()
    assert not (site.data / "replaced").exists()


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(RESULT)] ^= 1
    path.write_bytes(data)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-12_000])


def drop_a_file(path: Path) -> None:
    rewrite(path, lambda content: content.pop("data/admin-key"))


def drop_the_manifest(path: Path) -> None:
    rewrite(path, lambda content: content.pop(MANIFEST))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def climb_out(path: Path) -> None:
    rewrite(path, lambda content: content.update({"data/../../escaped": b"x"}))


def hide(path: Path) -> None:
    rewrite(path, lambda content: content.update({"data/.ssh/authorized_keys": b"x"}), honest=True)


def link(path: Path) -> None:
    with tarfile.open(path, "a") as tar:
        member = tarfile.TarInfo("data/link")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)


def come_from_the_future(path: Path) -> None:
    def change(content: dict[str, bytes]) -> None:
        content[MANIFEST] = content[MANIFEST].replace(b'"format": 1', b'"format": 2')

    rewrite(path, change)


def say_nothing(path: Path) -> None:
    rewrite(path, lambda content: content.update({MANIFEST: b"[]"}))


def say_too_little(path: Path) -> None:
    rewrite(path, lambda content: content.update({MANIFEST: b'{"format": 1, "files": {}}'}))


def lie_about_rows(path: Path) -> None:
    def change(content: dict[str, bytes]) -> None:
        content[MANIFEST] = content[MANIFEST].replace(b'"audit": 2', b'"audit": 3')

    rewrite(path, change)


def damage_the_database(path: Path) -> None:
    def change(content: dict[str, bytes]) -> None:
        data = bytearray(content[DATABASE])
        data[4096:12288] = b"\xff" * 8192
        content[DATABASE] = bytes(data)

    rewrite(path, change, honest=True)


def take_a_newer_schema(path: Path) -> None:
    def change(content: dict[str, bytes]) -> None:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.deserialize(content[DATABASE])
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
            connection.commit()
            content[DATABASE] = bytes(connection.serialize())
        manifest = json.loads(content[MANIFEST])
        manifest["schema"] = "9999"
        content[MANIFEST] = json.dumps(manifest).encode()

    rewrite(path, change, honest=True)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (flip_a_byte, "data/results/key_1/msg_1.json is not what its manifest says"),
        (cut_off, "the archive"),
        (drop_a_file, "data/admin-key is not what its manifest says"),
        (drop_the_manifest, "ends without its manifest"),
        (empty, "damaged or no archive at all"),
        (climb_out, "a member that no backup has: data/../../escaped"),
        (hide, "a member that no backup has: data/.ssh/authorized_keys"),
        (link, "a member that no backup has: data/link"),
        (come_from_the_future, "made by a newer version"),
        (say_nothing, "the archive's manifest cannot be read"),
        (say_too_little, "the archive's manifest cannot be read"),
        (lie_about_rows, "not the one that its manifest describes"),
        (damage_the_database, "database is damaged"),
        (take_a_newer_schema, "written by a newer version"),
    ],
)
def test_a_spoilt_archive_is_refused_and_touches_nothing(
    site: Site,
    archive: Path,
    spoil: Callable[[Path], None],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = site.dump()
    spoil(archive)

    for arguments in (("restore", archive, "--force"), ("verify", archive)):
        assert site.run(*arguments) == 1
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert reason in err

    assert site.dump() == before
    assert not (site.data / "replaced").exists()
    assert not list(site.data.glob(".half-done-*"))


@pytest.fixture
def next_version(tmp_path: Path) -> Path:
    """The migrations of a version to come, with one more than there are."""
    scripts = tmp_path / "migrations"
    shutil.copytree(migrate.SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    last = max((scripts / "versions").glob("*.py")).name.partition("_")[0]
    (scripts / "versions" / "9998_next.py").write_text(
        f"from alembic import op\nrevision = '9998'\ndown_revision = '{last}'\n"
        "def upgrade(): op.execute('CREATE TABLE next (id INTEGER)')\n"
    )
    return scripts


def test_an_older_schema_is_restored_as_it_is_and_migrated_by_the_next_start(
    archive: Path, elsewhere: Site, next_version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "SCRIPTS", next_version)

    assert elsewhere.run("verify", archive) == 0
    assert elsewhere.run("restore", archive) == 0
    assert not any("CREATE TABLE next" in line for line in elsewhere.dump())
    assert elsewhere.run("verify") == 1  # the start has not been yet
    assert elsewhere.run("keys", "list") == 0
    assert any("CREATE TABLE next" in line for line in elsewhere.dump())
    assert elsewhere.run("verify") == 0


def test_an_upgrade_and_both_ways_back(
    site: Site,
    archive: Path,
    next_version: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What docs/upgrade.md says, in its order."""
    before = site.dump()
    with monkeypatch.context() as upgraded:
        upgraded.setattr(migrate, "SCRIPTS", next_version)
        assert site.run("keys", "create", "garden") == 0
    capsys.readouterr()

    assert site.run("keys", "list") == 1
    assert "written by a newer version" in capsys.readouterr().err

    assert site.run("restore", archive, "--force") == 0
    assert site.run("keys", "list") == 0
    assert site.dump() == before

    with monkeypatch.context() as upgraded:
        upgraded.setattr(migrate, "SCRIPTS", next_version)
        assert site.run("keys", "create", "garden") == 0
    assert site.run("keys", "list") == 1
    snapshot = max((site.data / "snapshots").glob("gateway-0*.db"))
    for name in ("gateway.db-wal", "gateway.db-shm"):
        (site.data / name).unlink(missing_ok=True)
    shutil.copyfile(snapshot, site.data / "gateway.db")
    assert site.run("keys", "list") == 0
    assert site.dump() == before


def test_verify_tells_what_it_looked_at(
    site: Site, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert site.run("verify", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"]
    checks = ["file", "audit", "ledger", "budgets", "contents"]
    assert [check["check"] for check in told["checks"]] == checks

    assert site.run("verify", archive, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [check["check"] for check in told["checks"]] == ["archive", *checks]

    assert site.run("verify") == 0
    assert "audit" in capsys.readouterr().out


CALL = {
    "id": 1, "request_id": "req_1", "key_id": "key_1", "instance_id": 1, "operation": "create_message",
    "model": "claude", "started_at": 0, "status": "done", "input_tokens": 3, "cache_write_5m_tokens": 2,
    "cache_write_1h_tokens": 5, "cost": 9, "estimated": 0, "reserved": 0,
}  # fmt: skip


def add_call(connection: sqlite3.Connection, **columns: Any) -> None:
    row = CALL | columns
    names, marks = ", ".join(row), ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO calls ({names}) VALUES ({marks})", list(row.values()))


def add_sum(connection: sqlite3.Connection, day: str, requests: int, cost: int, key: str = "key_1") -> None:
    connection.execute(
        "INSERT INTO usage_daily (day, key_id, model, requests, input_tokens, cache_write_tokens, cost)"
        " VALUES (?, ?, 'claude', ?, ?, ?, ?)",
        (day, key, requests, 3 * requests, 7 * requests, cost),
    )


@pytest.mark.parametrize(
    ("statement", "check"),
    [
        ("UPDATE audit SET actor = 'nobody' WHERE sequence = 1", "audit"),
        ("DELETE FROM audit WHERE sequence = 2", "audit"),
        ("UPDATE calls SET cost = 8 WHERE id = 2", "ledger"),
        ("UPDATE calls SET cost = 100 WHERE id = 1", "ledger"),
        ("UPDATE usage_daily SET day = '2026-11-03' WHERE day = '2026-11-02'", "ledger budgets"),
        ("DELETE FROM calls WHERE id = 3", "ledger"),
        ("DELETE FROM calls WHERE day = '2026-11-02'", "ledger"),
        ("UPDATE calls SET cache_write_1h_tokens = 0 WHERE id = 3", "ledger"),
        ("UPDATE budgets SET day_spent = 1", "budgets"),
        ("UPDATE budgets SET month_spent = 1", "budgets"),
    ],
)
def test_verify_finds_what_was_changed(
    site: Site, statement: str, check: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(site.data / "gateway.db")) as connection:
        add_sum(connection, "2026-11-01", 5, 45)  # four of its calls are gone by age
        add_call(connection, id=1, day="2026-11-01")
        add_sum(connection, "2026-11-02", 2, 18)
        add_call(connection, id=2, day="2026-11-02")
        add_call(connection, id=3, day="2026-11-02")
        add_call(connection, id=4, day="2026-11-02", status="started")
        add_sum(connection, "2026-11-02", 1, 9, "key_2")
        add_call(connection, id=5, day="2026-11-02", key_id="key_2")
        connection.execute("INSERT INTO budgets VALUES ('key_1', '2026-11-02', 18, 9, '2026-11', 63, 9)")
        connection.commit()
        assert site.run("verify") == 0
        connection.execute(statement)
        connection.commit()
    capsys.readouterr()

    assert site.run("verify", "--json") == 1

    told = json.loads(capsys.readouterr().out)
    assert not told["ok"]
    assert [found["check"] for found in told["checks"] if not found["ok"]] == check.split()


def test_verify_looks_at_one_moment(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that a server settles between two of its questions is in neither answer."""
    real = checks._by_name

    def meanwhile(connection: Connection, statement: Select[Any]) -> dict[tuple[str, ...], tuple[int, ...]]:
        found = real(connection, statement)
        with closing(sqlite3.connect(site.data / "gateway.db")) as server:
            number = server.execute("SELECT count(*) FROM calls").fetchone()[0]
            add_sum(server, f"2026-11-0{number + 1}", 1, 9)
            add_call(server, id=number + 1, day=f"2026-11-0{number + 1}")
            server.commit()
        return found

    with closing(sqlite3.connect(site.data / "gateway.db")) as server:
        add_sum(server, "2026-11-01", 1, 9)
        add_call(server, day="2026-11-01")
        server.commit()
    monkeypatch.setattr(checks, "_by_name", meanwhile)

    assert site.run("verify") == 0


def test_verify_finds_a_content_that_is_not_whole(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(site.data / "gateway.db")) as connection:
        for name in ("kept", "deleted"):
            connection.execute(
                "INSERT INTO contents (id, key_id, kind, size, created_at, expires_at)"
                f" VALUES ('{name}', 'key_1', 'batch', 5, 0, 1)"
            )
        connection.commit()
    content = site.data / "results" / "kept"

    for data, ok, detail in (
        (b"12345", True, "1 whole, 1 deleted"),
        (b"1234", False, "kept has 4 bytes, not 5"),
    ):
        content.write_bytes(data)
        archive = tmp_path / f"{len(data)}.tar"
        assert site.run("backup", archive) == 0
        for arguments in (("verify",), ("verify", archive)):
            capsys.readouterr()
            assert site.run(*arguments, "--json") == (0 if ok else 1)
            (found,) = [
                found
                for found in json.loads(capsys.readouterr().out)["checks"]
                if found["check"] == "contents"
            ]
            assert (found["ok"], found["detail"]) == (ok, detail)


def test_a_damaged_database_makes_no_archive(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = site.data / "gateway.db"
    data = bytearray(path.read_bytes())
    data[4096:12288] = b"\xff" * 8192
    path.write_bytes(data)

    assert site.run("backup", tmp_path / "backup.tar") == 1
    assert "gateway.db" in capsys.readouterr().err or "damaged" in capsys.readouterr().err
    assert not list(tmp_path.glob("*backup*"))


def test_nothing_to_back_up_is_said(
    elsewhere: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (("backup", tmp_path / "backup.tar"), ("verify",)):
        assert elsewhere.run(*arguments) == 1
        told = capsys.readouterr().err
        assert told.startswith(f"there is no database at {elsewhere.data / 'gateway.db'}")
    assert not elsewhere.data.exists()
    assert elsewhere.run("restore", tmp_path / "missing.tar") == 1
    assert capsys.readouterr().err == f"{tmp_path / 'missing.tar'}: No such file or directory\n"


def test_a_database_outside_of_the_data_folder(site: Site, tmp_path: Path, elsewhere: Site) -> None:
    database = tmp_path / "fast-disk" / "own.db"
    database.parent.mkdir()
    (site.data / "gateway.db").rename(database)
    with site.env_file.open("a") as file:
        file.write(f"DATABASE_URL=sqlite:///{database}\n")

    (site.data / "gateway.db").write_text("left behind")
    assert site.run("backup", tmp_path / "backup.tar") == 0
    assert elsewhere.run("restore", tmp_path / "backup.tar") == 0
    assert site.run("restore", tmp_path / "backup.tar", "--force") == 0
    assert (site.data / "gateway.db").read_text() == "left behind"
    with closing(sqlite3.connect(database)) as connection:
        assert list(connection.iterdump()) == elsewhere.dump()


def test_a_database_in_a_folder_of_the_data_folder(
    site: Site, tmp_path: Path, elsewhere: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the archive once, as of one moment: not with its log, which would be played on that copy."""
    monkeypatch.chdir(tmp_path)
    with site.env_file.open("a") as file:
        file.write("DATABASE_URL=sqlite:///here/data/db/own.db\n")
    with elsewhere.env_file.open("a") as file:
        file.write(f"DATA_DIR=there/data\nDATABASE_URL=sqlite:///{elsewhere.data / 'db' / 'own.db'}\n")
    (site.data / "db").mkdir()
    (site.data / "gateway.db").rename(site.data / "db" / "own.db")
    (site.data / "db" / "notes").write_text("the operator's")
    before = (site.data / "db" / "own.db").read_bytes()
    with closing(sqlite3.connect(site.data / "db" / "own.db")) as server:
        server.execute("UPDATE keys SET name = 'garden'")
        server.commit()
        assert (site.data / "db" / "own.db").read_bytes() == before, "the log has it"
        assert site.run("backup", tmp_path / "backup.tar") == 0
    assert [name for name in members(tmp_path / "backup.tar") if "db" in name] == [DATABASE, "data/db/notes"]
    with site.env_file.open("a") as file:
        file.write(f"DATA_DIR=here/data\nDATABASE_URL=sqlite:///{site.data / 'db' / 'own.db'}\n")
    assert site.run("backup", tmp_path / "again.tar") == 0
    assert list(members(tmp_path / "again.tar")) == list(members(tmp_path / "backup.tar"))

    for _ in range(2):
        assert elsewhere.run("restore", tmp_path / "backup.tar", "--force") == 0
        assert sorted(path.name for path in (elsewhere.data / "db").iterdir()) == ["notes", "own.db"]
    with closing(sqlite3.connect(elsewhere.data / "db" / "own.db")) as connection:
        assert connection.execute("SELECT name FROM keys").fetchall() == [("garden",)]


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder of another file system, as Linux has in memory; where there is none, CI fails."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        if os.environ.get("CI"):
            pytest.fail("there is no other file system at /dev/shm")
        pytest.skip("there is no other file system at /dev/shm")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def test_a_database_on_another_disk_is_restored_whole_or_not_at_all(
    site: Site, archive: Path, elsewhere: Site, other_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = other_disk / "gateway.db"
    with elsewhere.env_file.open("a") as file:
        file.write(f"DATABASE_URL=sqlite:///{database}\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    real = shutil.copyfileobj

    def until_full(content: BinaryIO, file: BinaryIO) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
        try:
            real(content, file)
            file.flush()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", until_full)
        assert elsewhere.run("restore", archive) == 1
    assert "File too large" in capsys.readouterr().err
    assert list(other_disk.iterdir()) == []

    assert elsewhere.run("restore", archive, "--force") == 0
    with closing(sqlite3.connect(database)) as connection:
        assert list(connection.iterdump()) == site.dump()
    assert database.stat().st_mode & 0o077 == 0
    assert list(other_disk.iterdir()) == [database]


def test_postgresql_is_left_to_its_own_tools(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    with site.env_file.open("a") as file:
        file.write("DATABASE_URL=postgresql+psycopg://gateway:secret@db.example/gateway\n")

    for arguments in (("backup", "x.tar"), ("restore", os.devnull)):
        assert site.run(*arguments) == 1
        told = capsys.readouterr().err
        assert "pg_dump --format=custom --file=gateway.dump 'postgresql://gateway@db.example/gateway'" in told
        assert "secret" not in told


def test_verify_of_either_database(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    site = Site(tmp_path / "here")
    Store(database_url).close_now()

    assert site.run("verify", "--json") == 0
    checks = [check["check"] for check in json.loads(capsys.readouterr().out)["checks"]]
    assert [check for check in checks if check in ("audit", "ledger", "budgets")] == [
        "audit",
        "ledger",
        "budgets",
    ]


def test_progress_is_told_of_each_byte_once(site: Site) -> None:
    told: list[int] = []
    beside: list[bool] = []
    archive = io.BytesIO()
    places = Places(site.data, site.data / "gateway.db", site.config / "prices.toml")

    def tell(count: int) -> None:
        told.append(count)
        beside.append(any(site.data.glob(".half-done-*")))

    manifest = create(places, archive, tell)

    assert beside[0], "the copy is made where there is room for it"
    sizes = {name: file.bytes for name, file in manifest.files.items()}
    assert sum(told) == sum(sizes.values())
    assert len(told) > len(sizes) - 1


def test_the_copy_is_of_the_moment_at_which_it_began(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.backup.database.PAGES", 1)
    places = Places(site.data, site.data / "gateway.db", site.config / "prices.toml")
    written: list[int] = []

    def meanwhile(count: int) -> None:
        if len(written) < 3:  # what began anew each time would be as of the last one
            with closing(sqlite3.connect(places.database)) as server:
                server.execute("DELETE FROM audit WHERE sequence = (SELECT max(sequence) FROM audit)")
                server.commit()
            written.append(count)

    manifest = create(places, io.BytesIO(), meanwhile)

    assert (len(written), manifest.rows["audit"]) == (3, 2)


def test_what_a_killed_backup_has_left_is_removed(site: Site, tmp_path: Path) -> None:
    left, new = site.data / ".half-done-left", site.data / ".half-done-new"
    for folder in (left, new):
        folder.mkdir()
        (folder / "gateway.db").write_text("a copy")
    os.utime(left, (0, 0))
    with scratch(site.data) as running:
        os.utime(running, (0, 0))
        assert site.run("backup", tmp_path / "backup.tar") == 0
        assert running.is_dir()

    assert [path.name for path in site.data.glob(".half-done-*")] == [new.name]


def test_a_terminal_sees_how_far_it_is_and_stdout_the_result_alone(site: Site, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    arguments = [
        "main.py",
        "--env-file",
        str(site.env_file),
        "backup",
        str(tmp_path / "backup.tar"),
        "--json",
    ]
    try:
        ended = subprocess.run(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=theirs,
            check=True,
            timeout=60,
            env={"PATH": os.environ["PATH"]},
        )
        shown = os.read(ours, 65_536)
    finally:
        os.close(ours)
        os.close(theirs)

    assert json.loads(ended.stdout)["path"] == str(tmp_path / "backup.tar")
    assert b"Backup: " in shown
    assert shown.endswith(b"\r\x1b[K")


def test_the_library_says_the_same(site: Site, elsewhere: Site) -> None:
    places = Places(elsewhere.data, elsewhere.data / "gateway.db", elsewhere.config / "prices.toml")
    with pytest.raises(ArchiveError, match="no archive at all"):
        restore(places, io.BytesIO(b"x" * 2000), lambda _: None)
    with pytest.raises(BackupError, match="holds data already"):
        restore(Places(site.data, site.data / "gateway.db", site.config), io.BytesIO(), lambda _: None)
