"""A stand-in for the Anthropic API that asks no model; README.md says first what it does not do."""

from sandbox.app import Sandbox
from sandbox.cli import cli
from sandbox.server import serve, serve_in_thread
from sandbox.settings import Settings

__all__ = ["Sandbox", "Settings", "cli", "serve", "serve_in_thread"]
