"""The command line: `python main.py [COMMAND]`.

A command is one function, from parsed arguments to an exit code. What it stands on is imported inside it, so
`--help` answers at once, and a server that cannot be loaded does not take `check-config` with it.
"""

import asyncio
import os
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway import __version__, cli_audit, cli_backup, cli_batch, cli_config, cli_keys, cli_usage
from gateway.cli_commands import settings_of
from gateway.cli_output import print_json
from gateway.faults import OperatorFault, of_file
from gateway.settings import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    What the operator has to mend, in settings, files or database, is told in one line.

    Args:
        arguments: the words after the program's name; the process's own when left out.

    Returns:
        The exit code: 0, 1 when the command failed, 130 when it was interrupted. Wrong usage exits with 2, as
        argparse does.
    """
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if options.run is sandbox:
        options.arguments = rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        exit_code: int = options.run(options)
        sys.stdout.flush()
    except OperatorFault as fault:
        print(fault, file=sys.stderr)
        return 1
    except BrokenPipeError:  # `… | head`: whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        told = of_file(error)
        if told is None:
            raise
        print(told, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return exit_code


class _Commands:
    """The program's commands, listed in groups as argparse does not.

    Args:
        parser: the program's.
    """

    def __init__(self, parser: ArgumentParser) -> None:
        self._parsers = parser.add_subparsers(metavar="COMMAND", help=SUPPRESS, prog=parser.prog)
        self._groups: list[tuple[str, list[tuple[str, str]]]] = []

    def begin(self, title: str) -> None:
        """What is added from now on stands under this title."""
        self._groups.append((title, []))

    def add_parser(self, name: str, *, help: str, **options: Any) -> ArgumentParser:  # noqa: A002 - argparse's word
        """Add a command; arguments as of argparse's own."""
        self._groups[-1][1].append((name, help))
        return self._parsers.add_parser(name, description=f"{help[0].upper()}{help[1:]}.", **options)

    def __str__(self) -> str:
        width = max(len(name) for _, commands in self._groups for name, _ in commands)
        return "\n\n".join(
            "\n".join([f"{title}:", *(f"    {name:{width}}  {text}" for name, text in commands)])
            for title, commands in self._groups
        )


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python main.py",
        formatter_class=RawDescriptionHelpFormatter,
        usage="%(prog)s [-h] [--env-file FILE] [COMMAND ...]",
        epilog="A command's own options: python main.py COMMAND --help.\n"
        "Settings come from the environment and from .env; docs/settings.md lists them all.",
    )
    parser.add_argument(
        "--env-file", type=Path, metavar="FILE", help="read settings from FILE (default: .env)"
    )
    parser.set_defaults(run=serve)
    commands = _Commands(parser)

    commands.begin("serve")
    commands.add_parser("serve", help="run the server (the default)").set_defaults(run=serve)
    # The sandbox is a program of its own: its arguments (--host, --port, --help, …) are its own affair.
    command = commands.add_parser("sandbox", add_help=False, help="run only the stand-in for Anthropic's API")
    command.set_defaults(run=sandbox)
    command = commands.add_parser(
        "healthcheck", help="ask the running server whether it is healthy; exit 1 when not"
    )
    _add_json(command)
    command.set_defaults(run=healthcheck)

    commands.begin("keys, cost, batches")
    cli_keys.add_to(commands)
    cli_usage.add_to(commands)
    cli_batch.add_to(commands)
    command = commands.add_parser("admin-key", help="replace a lost admin key")
    _add_json(command)
    command.set_defaults(run=admin_key)

    commands.begin("care")
    cli_config.add_to(commands)
    cli_backup.add_to(commands)
    cli_audit.add_to(commands)
    command = commands.add_parser("version", help="print the version")
    _add_json(command)
    command.set_defaults(run=version)

    parser.description = (
        f"A self-hosted gateway to the Anthropic API. Without a command it serves.\n\n{commands}"
    )
    return parser


def serve(options: Namespace) -> int:
    """Run the server until it is told to stop."""
    settings = settings_of(options, calls_anthropic=True)
    from gateway import lean  # noqa: F401 - before all that it keeps small

    if settings.workers > 1:
        from gateway import supervisor

        supervisor.run(settings)
    else:
        from gateway import server

        server.run(settings)
    return 0


def sandbox(options: Namespace) -> int:
    """Run the sandbox alone, for tests of other programs or as `ANTHROPIC_BASE_URL` of a gateway."""
    from sandbox import cli

    return cli(options.arguments)


def healthcheck(options: Namespace) -> int:
    """Tell by the exit code whether the server with these settings is healthy."""
    settings = settings_of(options)
    from gateway import healthcheck

    healthy = healthcheck.healthy(settings.host, settings.port, tls=settings.tls_cert_file is not None)
    if options.json:
        print_json({"healthy": healthy})
    elif not healthy:
        print("The gateway is not healthy, or not there.", file=sys.stderr)
    return 0 if healthy else 1


def admin_key(options: Namespace) -> int:
    """Make a new admin key in place of the one in `DATA_DIR`; say where it stands, not what it is."""
    settings = settings_of(options)
    if settings.gateway_admin_key is not None:
        print("The admin key is set by GATEWAY_ADMIN_KEY: change it there.", file=sys.stderr)
        return 1
    path = asyncio.run(_replace_admin_key(settings))
    if options.json:
        print_json({"path": str(path)})
    else:
        print(f"The new admin key stands in {path}")
    return 0


async def _replace_admin_key(settings: Settings) -> Path:
    from gateway.audit import COMMAND, Audit
    from gateway.cli_database import open_existing
    from gateway.keys import ADMIN_ID, replace_admin_key

    store = open_existing(settings)  # first: the old key goes on where the change cannot be recorded
    trail = Audit(store, settings.log_dir)
    try:
        path = replace_admin_key(settings.data_dir)
        trail.record(COMMAND, "replace_admin_key", ADMIN_ID)
    finally:
        await trail.close()
        await store.close()
    return path


def version(options: Namespace) -> int:
    """Print the version of the gateway, which is that of both specs too."""
    if options.json:
        print_json({"version": __version__})
    else:
        print(__version__)
    return 0


def _add_json(command: ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON")
