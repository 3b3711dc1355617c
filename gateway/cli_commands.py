"""What the commands share: where they are added, and how they come to the settings."""

from argparse import ArgumentParser, Namespace
from typing import Any, Protocol

from gateway.settings import Settings, SettingsError, load


class Commands(Protocol):
    """Where commands are listed: the program's own, or what argparse's `add_subparsers` returns."""

    def add_parser(self, name: str, *, help: str, **options: Any) -> ArgumentParser:  # noqa: A002 - argparse's word
        """Add a command; arguments as of argparse's own."""


def settings_of(options: Namespace, *, calls_anthropic: bool = False) -> Settings:
    """The settings that a command goes by.

    Args:
        options: the command line's. `.env` may be missing, a file that it names may not.
        calls_anthropic: it serves, or is asked whether serving will do: Anthropic's key must be there.

    Raises:
        SettingsError: with one line for each fault, all of them.
    """
    if options.env_file is None:
        return load(calls_anthropic=calls_anthropic)
    if not options.env_file.exists():
        raise SettingsError([f"{options.env_file}: no such file"])
    if options.env_file.is_dir():
        raise SettingsError([f"{options.env_file}: is a folder, no file of settings"])
    return load(env_file=options.env_file, calls_anthropic=calls_anthropic)
