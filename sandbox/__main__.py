"""`python -m sandbox`."""

from sandbox.cli import cli

raise SystemExit(cli())
