"""The command line: `python main.py [COMMAND]`.

A command is one function, from parsed arguments to an exit code. What it stands on is imported inside it, so
`--help` answers at once, and a server that cannot be loaded does not take `check-config` with it.
"""

import asyncio
import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from gateway import __version__, cli_audit, cli_keys, cli_usage
from gateway.settings import Settings, SettingsError, load


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the words after the program's name; the process's own when left out.

    Returns:
        The exit code: 0, or 1 when the command failed. Wrong usage exits with 2, as argparse does.
    """
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if options.run is sandbox:
        options.arguments = rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        exit_code: int = options.run(options)
    except SettingsError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        return 1
    return exit_code


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python main.py",
        description="A self-hosted gateway to the Anthropic API. Without a command it serves.",
        epilog="Settings come from the environment and from .env; docs/settings.md lists them all.",
    )
    parser.add_argument(
        "--env-file", default=".env", metavar="FILE", help="read settings from FILE (default: %(default)s)"
    )
    parser.set_defaults(run=serve)
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", help="its own options: python main.py COMMAND --help"
    )

    commands.add_parser("serve", help="run the server (the default)").set_defaults(run=serve)

    # The sandbox is a program of its own: its arguments (--host, --port, --help, …) are its own affair.
    command = commands.add_parser("sandbox", add_help=False, help="run only the stand-in for Anthropic's API")
    command.set_defaults(run=sandbox)

    command = commands.add_parser("check-config", help="print the effective settings, or every fault in them")
    _add_json(command)
    command.set_defaults(run=check_config)

    cli_keys.add_to(commands)
    cli_usage.add_to(commands)
    cli_audit.add_to(commands)

    commands.add_parser(
        "healthcheck", help="ask the running server whether it is healthy; exit 1 when not"
    ).set_defaults(run=healthcheck)

    command = commands.add_parser("admin-key", help="replace a lost admin key")
    _add_json(command)
    command.set_defaults(run=admin_key)

    command = commands.add_parser("version", help="print the version")
    _add_json(command)
    command.set_defaults(run=version)
    return parser


def serve(options: Namespace) -> int:
    """Run the server until it is told to stop."""
    settings = _settings(options)
    from gateway import server

    server.run(settings)
    return 0


def sandbox(options: Namespace) -> int:
    """Run the sandbox alone, for tests of other programs or as `ANTHROPIC_BASE_URL` of a gateway."""
    from sandbox import cli

    return cli(options.arguments)


def check_config(options: Namespace) -> int:
    """Print the effective settings with the secrets masked, or all faults; name prices to be looked at."""
    try:
        settings = _settings(options)
        unchecked = _unchecked_prices(settings)
    except SettingsError as error:
        if not options.json:
            raise
        _print_json({"faults": error.faults})
        return 1
    values = settings.redacted()
    if options.json:
        _print_json({"settings": values, "unchecked_prices": unchecked})
        return 0
    for name, value in values.items():
        print(f"{name}={_shown(value)}")
    if unchecked:
        models = ", ".join(unchecked)
        print(f"Nobody has compared these prices with Anthropic's page: {models}.", file=sys.stderr)
    return 0


def _unchecked_prices(settings: Settings) -> list[str]:
    from gateway.prices import PriceError, PriceTable

    try:
        return PriceTable.load(settings.config_dir / "prices.toml").unchecked
    except (PriceError, OSError) as fault:
        raise SettingsError([f"CONFIG_DIR: {fault}"]) from fault


def healthcheck(options: Namespace) -> int:
    """Tell by the exit code whether the server with these settings is healthy."""
    settings = _settings(options)
    from gateway import healthcheck

    if healthcheck.healthy(settings.port, tls=settings.tls_cert_file is not None):
        return 0
    print("The gateway is not healthy, or not there.", file=sys.stderr)
    return 1


def admin_key(options: Namespace) -> int:
    """Make a new admin key in place of the one in `DATA_DIR`; say where it stands, not what it is."""
    settings = _settings(options)
    if settings.gateway_admin_key is not None:
        print("The admin key is set by GATEWAY_ADMIN_KEY: change it there.", file=sys.stderr)
        return 1
    from gateway import keys

    path = keys.replace_admin_key(settings.data_dir)
    asyncio.run(_record_admin_key(settings))
    if options.json:
        _print_json({"path": str(path)})
    else:
        print(f"The new admin key stands in {path}")
    return 0


async def _record_admin_key(settings: Settings) -> None:
    from gateway.audit import COMMAND, Audit
    from gateway.keys import ADMIN_ID
    from gateway.opening import open_store

    store = open_store(settings)
    trail = Audit(store, settings.log_dir)
    trail.record(COMMAND, "replace_admin_key", ADMIN_ID)
    await trail.close()
    await store.close()


def version(options: Namespace) -> int:
    """Print the version of the gateway, which is that of both specs too."""
    if options.json:
        _print_json({"version": __version__})
    else:
        print(__version__)
    return 0


def _settings(options: Namespace) -> Settings:
    return load(env_file=options.env_file)


def _add_json(command: ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON")


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, indent=2))


def _shown(value: object) -> str:
    """Write a setting as it would stand in an env file."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list():
            return ",".join(map(str, value))
        case _:
            return str(value)
