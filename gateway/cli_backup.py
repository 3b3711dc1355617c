"""The command line's `backup`, `restore` and `verify`."""

import contextlib
import os
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from gateway.cli_commands import Commands, settings_of
from gateway.cli_database import check_exists, is_sqlite
from gateway.cli_files import PIPE, complete_or_absent
from gateway.cli_output import Progress, print_json, size, table
from gateway.settings import Settings


def add_to(commands: Commands) -> None:
    """Add the three commands to those of the program.

    Args:
        commands: where the program's commands are listed.
    """
    command = commands.add_parser(
        "backup", help="write all that must last to one file, beside a running server"
    )
    command.add_argument(
        "target", metavar="FILE|FOLDER", help="the file to make, a folder to make one in, or - for stdout"
    )
    command.add_argument("--force", action="store_true", help="replace a file that exists")
    _finish(command, backup)

    command = commands.add_parser("restore", help="put a backup back; the server must be stopped")
    command.add_argument("source", metavar="FILE", help="the backup, or - for stdin")
    command.add_argument(
        "--force", action="store_true", help="move existing data to DATA_DIR/replaced instead of refusing"
    )
    _finish(command, restore)

    command = commands.add_parser(
        "verify", help="check the live database, or a backup; exit 1 when something is wrong"
    )
    command.add_argument(
        "source", metavar="FILE", nargs="?", help="a backup, or - for stdin; without one, the live database"
    )
    _finish(command, verify)


def _finish(command: ArgumentParser, run: Any) -> None:
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=run)


def backup(options: Namespace) -> int:
    """Make an archive."""
    settings = settings_of(options)
    from gateway.backup import Places, create

    places = Places.of(settings)
    if options.target == PIPE:
        with Progress("Backup") as progress:
            create(places, sys.stdout.buffer, progress.add_bytes)
        return 0
    target = _target(Path(options.target), places.data, force=options.force)
    with complete_or_absent(target) as file, Progress("Backup") as progress:
        manifest = create(places, file, progress.add_bytes)
    written = target.stat().st_size
    if options.json:
        print_json(
            {
                "path": str(target),
                "bytes": written,
                "schema": manifest.schema,
                "files": len(manifest.files),
                "rows": manifest.rows,
            }
        )
    else:
        rows = sum(manifest.rows.values())
        print(f"{target}: {size(written)}, {len(manifest.files)} files, {rows} rows in the database")
    return 0


def restore(options: Namespace) -> int:
    """Put an archive back."""
    settings = settings_of(options)
    from gateway.backup import Places
    from gateway.backup import restore as put_back

    with _source(options.source) as stream, Progress("Restore") as progress:
        done = put_back(Places.of(settings), stream, progress.add_bytes, force=options.force)
    manifest = done.manifest
    if options.json:
        print_json(
            {
                "data_dir": str(settings.data_dir.resolve()),
                "made_at": manifest.created_at,
                "made_by": manifest.version,
                "schema": manifest.schema,
                "rows": manifest.rows,
                "replaced": done.replaced and str(done.replaced),
                "prices_kept": done.prices_kept,
            }
        )
        return 0
    rows = sum(manifest.rows.values())
    print(f"{settings.data_dir.resolve()} is as of {manifest.created_at}: {rows} rows in the database.")
    if done.replaced is not None:
        print(f"What was there before is in {done.replaced}; delete it when all is well.")
    if done.prices_kept:
        print(f"{settings.config_dir / 'prices.toml'} was left as it is: it differs from the backup's.")
    return 0


def verify(options: Namespace) -> int:
    """Check the live database or an archive."""
    from gateway.backup import Manifest, check_archive, check_database

    settings = settings_of(options)
    manifest: Manifest | None = None
    if options.source is None:
        findings = check_database(_live_url(settings), _content_size(settings))
    else:
        parent = settings.data_dir if os.access(settings.data_dir, os.W_OK) else None
        with _source(options.source) as stream, Progress("Verify") as progress:
            manifest, findings = check_archive(stream, parent, progress.add_bytes)
    ok = all(finding.ok for finding in findings)
    if options.json:
        made = {"made_at": manifest.created_at, "made_by": manifest.version} if manifest else {}
        print_json({"ok": ok, **made, "checks": [asdict(finding) for finding in findings]})
    else:
        if manifest is not None:
            print(f"Made at {manifest.created_at} by version {manifest.version}.")
        print(
            table([(finding.check, "ok" if finding.ok else "WRONG", finding.detail) for finding in findings])
        )
    return 0 if ok else 1


def _live_url(settings: Settings) -> str:
    from gateway.backup import Places

    check_exists(settings)
    if settings.database_url is not None and not is_sqlite(settings):
        return settings.database_url.get_secret_value()
    return f"sqlite:///{Places.of(settings).database}"


def _content_size(settings: Settings) -> Callable[[str], int | None] | None:
    """The size of a content's file; PostgreSQL keeps contents in rows of its own."""
    if not is_sqlite(settings):
        return None

    def size(content_id: str) -> int | None:
        try:
            return (settings.data_dir / "results" / content_id).stat().st_size
        except FileNotFoundError:
            return None

    return size


def _target(path: Path, data: Path, *, force: bool) -> Path:
    from gateway.backup import BackupError
    from gateway.backup.places import ARCHIVES

    if path.is_dir():
        path /= time.strftime("anthropic-gateway-%Y%m%dT%H%M%SZ.tar", time.gmtime())
    path = path.resolve()
    if path.is_relative_to(data) and not path.is_relative_to(data / ARCHIVES):
        raise BackupError(
            f"within DATA_DIR backups go to {data / ARCHIVES}: the next one must not hold this one"
        )
    if path.exists() and not force:
        raise BackupError(f"{path} exists already; --force replaces it")
    if path.parent == data / ARCHIVES:
        path.parent.mkdir(mode=0o700, exist_ok=True)
    return path


@contextlib.contextmanager
def _source(name: str) -> Iterator[BinaryIO]:
    if name == PIPE:
        yield sys.stdin.buffer
        return
    with Path(name).open("rb") as file:
        yield file
