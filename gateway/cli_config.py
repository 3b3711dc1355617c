"""The command line's `check-config`: what is in force, and whether Anthropic can be reached with it."""

import sys
from argparse import Namespace
from dataclasses import asdict
from typing import TYPE_CHECKING

from gateway.cli_commands import Commands, settings_of
from gateway.cli_output import print_json
from gateway.settings import ANTHROPIC_URL, Settings, SettingsError

if TYPE_CHECKING:
    from gateway.upstream_check import Verdict


def add_to(commands: Commands) -> None:
    """Add `check-config` to the commands of the program.

    Args:
        commands: where the program's commands are listed.
    """
    command = commands.add_parser("check-config", help="print the effective settings, or every fault in them")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument(
        "--upstream",
        action="store_true",
        help="also ask Anthropic for its models, which costs nothing: does DNS, proxy, TLS or the key fail?",
    )
    command.set_defaults(run=run)


def run(options: Namespace) -> int:
    """Print the effective settings with the secrets masked, or all faults; name prices to be looked at."""
    try:
        settings = settings_of(options, calls_anthropic=True)
        unchecked = _unchecked_prices(settings)
    except SettingsError as error:
        if not options.json:
            raise
        print_json({"faults": error.faults})
        return 1
    values = settings.redacted()
    verdict = _check_upstream(settings) if options.upstream else None
    failed = verdict is not None and not verdict.ok
    if options.json:
        upstream = {} if verdict is None else {"upstream": asdict(verdict)}
        print_json({"settings": values, "unchecked_prices": unchecked, **upstream})
        return int(failed)
    for name, value in values.items():
        print(f"{name}={_shown(value)}")
    if unchecked:
        models = ", ".join(unchecked)
        print(f"Nobody has compared these prices with Anthropic's page: {models}.", file=sys.stderr)
    if verdict is not None:
        print(verdict.message, file=sys.stderr if failed else sys.stdout)
    return int(failed)


def _check_upstream(settings: Settings) -> "Verdict":
    from gateway.upstream_check import Verdict, check_upstream

    key = settings.anthropic_api_key
    if settings.upstream == "sandbox" or key is None:
        message = "UPSTREAM=sandbox: calls go to the embedded sandbox, and Anthropic is not asked."
        return Verdict(ok=True, step=None, message=message, address="sandbox", proxy=None)
    return check_upstream(settings.anthropic_base_url or ANTHROPIC_URL, key.get_secret_value())


def _unchecked_prices(settings: Settings) -> list[str]:
    from gateway.prices import PriceError, PriceTable

    try:
        return PriceTable.load(settings.config_dir / "prices.toml").unchecked
    except (PriceError, OSError) as fault:
        raise SettingsError([f"CONFIG_DIR: {fault}"]) from fault


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
