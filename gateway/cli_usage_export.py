"""The command line's `usage export`: every call of the ledger, as CSV or as lines of JSON."""

import contextlib
import csv
import io
import json
from argparse import SUPPRESS, Namespace
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from gateway.cli_commands import Commands, settings_of
from gateway.cli_database import open_existing
from gateway.cli_files import PIPE, output
from gateway.cli_output import Progress, print_json

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula. A model's name is the caller's text."""


def add_to(commands: Commands, day: Callable[[str], Any]) -> None:
    """Add `export` to the commands of `usage`.

    Args:
        commands: where its commands are listed.
        day: reads a day.
    """
    command = commands.add_parser(
        "export", help="write every call to a file", description="Write every call of the ledger to a file."
    )
    command.add_argument("target", metavar="FILE", help="the file, or - for stdout")
    # No defaults: they would take the place of what stands before the word export.
    command.add_argument(
        "--from", dest="first", type=day, default=SUPPRESS, metavar="DAY", help="such as 2026-11-01"
    )
    command.add_argument(
        "--to", dest="last", type=day, default=SUPPRESS, metavar="DAY", help="belongs to the export"
    )
    command.add_argument("--format", choices=tuple(_WRITERS), default="csv", help="default: %(default)s")
    command.add_argument(
        "--json", action="store_true", default=SUPPRESS, help="print what was written as JSON"
    )
    command.set_defaults(run=run)


def run(options: Namespace) -> int:
    """Write the export."""
    settings = settings_of(options)
    from gateway.ledger.export import count_calls, export_calls
    from gateway.opening import open_keys

    store = open_existing(settings)
    try:
        name = open_keys(settings, store).name
        with (
            store.engine.connect() as connection,
            _sink(options.target) as sink,
            Progress("Export") as progress,
        ):
            total = count_calls(connection, options.first, options.last)
            write, rows = _WRITERS[options.format](sink), 0
            for rows, call in enumerate(export_calls(connection, name, options.first, options.last), 1):
                write(call)
                progress.count(rows, total)
    finally:
        store.close_now()
    if options.target == PIPE:
        return 0
    if options.json:
        print_json({"path": options.target, "rows": rows, "format": options.format})
    else:
        print(f"{options.target}: {rows} calls")
    return 0


@contextlib.contextmanager
def _sink(target: str) -> Iterator[TextIO]:
    with output(target) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        yield text
        text.flush()
        text.detach()


def _csv(sink: TextIO) -> Callable[[dict[str, Any]], Any]:
    from gateway.ledger.export import FIELDS

    writer = csv.DictWriter(sink, FIELDS, lineterminator="\n")
    writer.writeheader()
    return lambda call: writer.writerow({field: _cell(value) for field, value in call.items()})


def _jsonl(sink: TextIO) -> Callable[[dict[str, Any]], Any]:
    return lambda call: sink.write(json.dumps(call, ensure_ascii=False) + "\n")


_WRITERS = {"csv": _csv, "jsonl": _jsonl}


def _cell(value: Any) -> Any:
    """A value as a spreadsheet shows it, and does not calculate it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
