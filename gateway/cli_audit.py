"""The command line's `audit`: look at the trail, and check that nobody has changed it."""

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from typing import Any

from gateway.cli_commands import Commands, settings_of
from gateway.cli_database import open_existing
from gateway.cli_output import print_json, table

LISTED = 100
MOST = 1_000_000_000


def add_to(commands: Commands) -> None:
    """Add `audit` and its own commands to those of the program.

    Args:
        commands: where the program's commands are listed.
    """
    parser = commands.add_parser("audit", help="show and verify the audit trail")
    own = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    _command(
        own, "verify", "check that no row was changed, taken out or cut off; exit 1 when one was", verify
    )

    command = _command(own, "list", "the latest rows, the newest last", show)
    command.add_argument(
        "--limit", type=_rows, default=LISTED, metavar="N", help="how many (default: %(default)s)"
    )


def _command(commands: Commands, name: str, text: str, run: Callable[[Namespace], int]) -> ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=run)
    return command


def _rows(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise ArgumentTypeError(f"{text} is no number of rows")
    return int(text)


def verify(options: Namespace) -> int:
    """Check the whole chain."""
    from gateway import audit

    verdict = _read(options, audit.verify)
    if options.json:
        print_json(verdict._asdict())
    elif verdict.broken_at is None:
        print(f"{verdict.rows} rows, and the chain is whole.")
    else:
        print(f"The chain is broken: row {verdict.broken_at} was changed or is missing.", file=sys.stderr)
    return 0 if verdict.broken_at is None else 1


def show(options: Namespace) -> int:
    """Print the latest rows."""
    from gateway import audit

    rows = _read(options, audit.latest, options.limit)
    if options.json:
        print_json({"rows": rows})
    else:
        columns = ("sequence", "at", "actor", "action", "target", "detail")
        cells = [
            tuple(
                json.dumps(row[name], ensure_ascii=False) if name == "detail" else str(row[name])
                for name in columns
            )
            for row in rows
        ]
        print(table([columns, *cells]))
    return 0


def _read(options: Namespace, function: Callable[..., Any], *args: Any) -> Any:
    """What a function reads from the database."""
    store = open_existing(settings_of(options))
    try:
        return store.read_now(function, *args)
    finally:
        store.close_now()
