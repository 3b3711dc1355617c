"""The command line's `keys`: the same as `/api/v1/keys`, on the database itself.

It works beside a running server, which goes by every change within a second, and without one.
"""

import asyncio
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from gateway.cli_commands import Commands, settings_of
from gateway.cli_database import missing, open_existing
from gateway.cli_output import print_json, table
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.keys import Key, KeyRing

LIMITS = ("requests_per_minute", "input_tokens_per_minute", "output_tokens_per_minute", "concurrency")
BUDGET = ("usd_per_day", "usd_per_month")
NONE = "none"

Shown = dict[str, Any]
Result = Shown | list[Shown]
Action = Callable[[Namespace, "KeyRing"], Awaitable[Result]]


def add_to(commands: Commands) -> None:
    """Add `keys` and its own commands to those of the program.

    Args:
        commands: where the program's commands are listed.
    """
    parser = commands.add_parser("keys", help="make, list, change, rotate and revoke the apps' keys")
    own = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    command = _command(own, "create", "make a key and print it, this once", create, changes=True)
    command.add_argument("name", metavar="NAME")
    _add_fields(command)

    command = _command(own, "list", "list the keys, the newest first", show_all)
    command.add_argument("--revoked", action="store_true", help="those that were revoked too")

    _add_key(_command(own, "show", "show one key", show))

    command = _command(own, "update", "change what is named, leave the rest", update, changes=True)
    _add_key(command)
    command.add_argument("--name", default=SUPPRESS)
    _add_fields(command)

    command = _command(
        own, "rotate", "make a new secret for a key and print it, this once", rotate, changes=True
    )
    _add_key(command)
    command.add_argument(
        "--overlap", type=int, default=0, metavar="SECONDS", help="let the old secret work for so long"
    )

    _add_key(_command(own, "revoke", "make a key useless for good", revoke, changes=True))


def _command(
    commands: Commands, name: str, text: str, action: Action, *, changes: bool = False
) -> ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=run, action=action, changes=changes)
    return command


def _add_key(command: ArgumentParser) -> None:
    command.add_argument("key", metavar="KEY", help="its id or its name")


def _add_fields(command: ArgumentParser) -> None:
    """Options for the fields of a key; the ones not given leave no trace in the result."""
    command.add_argument("--scopes", type=_list, default=SUPPRESS, help="such as messages,batches")
    command.add_argument(
        "--models", type=_list, default=SUPPRESS, help="such as 'claude-haiku-*,claude-sonnet-5'"
    )
    command.add_argument(
        "--expires-at", type=_text, default=SUPPRESS, metavar="TIME", help="such as 2027-01-31T12:00:00Z"
    )
    for name in LIMITS:
        command.add_argument(f"--{name.replace('_', '-')}", type=_number(int), default=SUPPRESS, metavar="N")
    for name in BUDGET:
        command.add_argument(
            f"--{name.replace('_', '-')}", type=_number(float), default=SUPPRESS, metavar="USD"
        )
    command.epilog = f"Limits, budgets and --expires-at take '{NONE}' too."


def _list(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _text(text: str) -> str | None:
    return None if text == NONE else text


def _number(kind: type[int] | type[float]) -> Callable[[str], int | float | None]:
    def read(text: str) -> int | float | None:
        return None if text == NONE else kind(text)

    read.__name__ = "number"  # for argparse's "invalid number value"
    return read


def run(options: Namespace) -> int:
    """Carry out one of the commands and print what it gives."""
    settings = settings_of(options)
    from gateway.errors import GatewayError

    new = missing(settings) if options.action is create else None
    try:
        result = asyncio.run(_with_keys(settings, options))
    except (GatewayError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    if new is not None and sys.stderr.isatty():  # whoever scripts a first start means it
        print(f"There was no database; a new one was made: {new}", file=sys.stderr)
    if options.json:
        print_json({"keys": result} if isinstance(result, list) else result)
    else:
        print(_table(result) if isinstance(result, list) else _lines(result))
    return 0


async def _with_keys(settings: Settings, options: Namespace) -> Result:
    from gateway.audit import COMMAND, Audit
    from gateway.opening import open_keys, open_store

    store = (open_store if options.action is create else open_existing)(settings)
    audit = Audit(store, settings.log_dir)
    try:
        result: Result = await options.action(options, open_keys(settings, store))
        if options.changes:
            assert isinstance(result, dict)
            audit.record(COMMAND, f"{options.action.__name__}_key", result["id"], _detail(options))
    finally:
        await audit.close()
        await store.close()
    return result


async def create(options: Namespace, keys: "KeyRing") -> Result:
    """Make a key."""
    key, secret = await keys.create(_fields(options))
    return {**key.describe(), "key": secret}


async def show_all(options: Namespace, keys: "KeyRing") -> Result:
    """All keys."""
    return [key.describe() for key in keys.all(revoked=options.revoked)]


async def show(options: Namespace, keys: "KeyRing") -> Result:
    """One key."""
    return _find(keys, options.key).describe()


async def update(options: Namespace, keys: "KeyRing") -> Result:
    """Change a key."""
    from gateway.errors import BadRequest

    fields = _fields(options)
    if not fields:
        raise BadRequest("say what to change; python main.py keys update --help lists what there is")
    key = await keys.update(_find(keys, options.key).id, fields)
    return key.describe()


async def rotate(options: Namespace, keys: "KeyRing") -> Result:
    """Give a key a new secret."""
    key, secret = await keys.rotate(_find(keys, options.key).id, options.overlap)
    return {**key.describe(), "key": secret}


async def revoke(options: Namespace, keys: "KeyRing") -> Result:
    """End a key."""
    key = await keys.revoke(_find(keys, options.key).id)
    return key.describe()


def _find(keys: "KeyRing", word: str) -> "Key":
    """The key with a name, else with an id.

    Raises:
        gateway.errors.NotFound: there is none.
    """
    return next((key for key in keys.all() if key.name == word), None) or keys.get(word)


def _fields(options: Namespace) -> Shown:
    """The fields as `POST /api/v1/keys` takes them, those given alone."""
    given = vars(options)
    fields: Shown = {
        name: given[name] for name in ("name", "scopes", "models", "expires_at") if name in given
    }
    for group, names in (("limits", LIMITS), ("budget", BUDGET)):
        members = {name: given[name] for name in names if name in given}
        if members:
            fields[group] = members
    return fields


def _detail(options: Namespace) -> Shown:
    """What was asked for, without a secret, as the audit trail holds it."""
    overlap = {"overlap_seconds": options.overlap} if options.action is rotate else {}
    return _fields(options) | overlap


def _lines(key: Shown) -> str:
    """A key as one line a field, those of limits and budget among them."""
    fields: Shown = {}
    for name, value in key.items():
        fields |= value if isinstance(value, dict) else {name: value}
    width = max(map(len, fields))
    return "\n".join(f"{name:{width}}  {_cell(value)}" for name, value in fields.items())


def _table(keys: list[Shown]) -> str:
    """Keys as a table for eyes; `show` and `--json` tell all."""
    columns = ("id", "name", "scopes", "models", "expires_at", "revoked_at")
    return table([columns, *(tuple(_cell(key[column]) for column in columns) for key in keys)])


def _cell(value: Any) -> str:
    match value:
        case None:
            return NONE
        case list():
            return ",".join(value) or NONE
        case _:
            return str(value)
