"""The command line's `usage`: the same as `/api/v1/usage` for an admin, on the database itself."""

import asyncio
from argparse import ArgumentTypeError, Namespace
from datetime import date
from typing import Any

from gateway import cli_usage_export
from gateway.cli_commands import Commands, settings_of
from gateway.cli_database import open_existing
from gateway.cli_output import print_json, table
from gateway.settings import Settings

COLUMNS = ("key", "key_id", "model", "day")
SHOWN = ("key", "model", "day")


def add_to(commands: Commands) -> None:
    """Add `usage` to the commands of the program.

    Args:
        commands: where the program's commands are listed.
    """
    parser = commands.add_parser("usage", help="tokens and cost by key, model and day")
    parser.add_argument("--from", dest="first", type=_day, metavar="DAY", help="such as 2026-11-01")
    parser.add_argument("--to", dest="last", type=_day, metavar="DAY", help="belongs to the report")
    parser.add_argument(
        "--group-by",
        type=_columns,
        default=SHOWN,
        metavar="COLUMNS",
        help=f"what the rows tell apart, of {','.join(COLUMNS)} (default: {','.join(SHOWN)})",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = "Days are those of BUDGET_TIMEZONE."
    parser.set_defaults(run=run)
    own = parser.add_subparsers(title="commands", metavar="[export]")
    cli_usage_export.add_to(own, _day)


def run(options: Namespace) -> int:
    """Print the report."""
    report = asyncio.run(_report(settings_of(options), options))
    if options.json:
        print_json(report)
    else:
        print(_shown(report, options.group_by))
    return 0


async def _report(settings: Settings, options: Namespace) -> dict[str, Any]:
    from gateway.ledger import usage_report
    from gateway.opening import open_keys

    store = open_existing(settings)
    try:
        report = await usage_report(
            store,
            open_keys(settings, store).name,
            first=options.first,
            last=options.last,
            group_by=options.group_by,
        )
    finally:
        await store.close()
    return {**report, "timezone": settings.budget_timezone.key}


def _shown(report: dict[str, Any], columns: tuple[str, ...]) -> str:
    """The report as a table, its total in the last row."""
    sums = tuple(report["total"])
    total = ("total", *[""] * (len(columns) - 1)) if columns else ()
    rows = [(*columns, *sums)]
    rows += [tuple(str(row[name]) for name in (*columns, *sums)) for row in report["rows"]]
    rows += [(*total, *(str(report["total"][name]) for name in sums))]
    return table(rows)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text} is no day such as 2026-11-01") from None


def _columns(text: str) -> tuple[str, ...]:
    given = [name.strip() for name in text.split(",")]
    if wrong := [name for name in given if name not in COLUMNS]:
        raise ArgumentTypeError(f"{wrong[0] or 'nothing'} is none of {', '.join(COLUMNS)}")
    return tuple(name for name in COLUMNS if name in given)
