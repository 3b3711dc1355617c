"""Redocly and Spectral, with the rulesets of this house, on both bundles: `python -m tools.spec_linters`.

They need npm. Without it nothing is linted, which is an error in CI (`CI` set) and a remark elsewhere.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools import installed
from tools.installed import ROOT, NotInstalled

HERE = Path(__file__).parent / "linters"
BUNDLES = tuple(ROOT / "openapi" / "dist" / f"{dialect}.json" for dialect in ("native", "envelope"))
TIMEOUT = 120.0
"""Seconds that one linter may take."""


def lint(bundles: Sequence[Path] = BUNDLES) -> Iterator[str]:
    """What each linter complains about, as it says it.

    Raises:
        NotInstalled: the linters cannot be had.
    """
    programs = installed.node_folder(HERE) / "node_modules" / ".bin"
    commands: list[list[str | Path]] = [
        [programs / "redocly", "lint", "--config", HERE / "redocly.yaml", "--format", "stylish"],
        [programs / "spectral", "lint", "--ruleset", HERE / "spectral.yaml", "--fail-severity", "hint"],
    ]
    for command in commands:
        ended = subprocess.run(
            [*command, *bundles],
            env=os.environ | {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"},
            timeout=TIMEOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if ended.returncode:
            yield ended.stdout


def main() -> int:
    """Print the complaints; the exit code is 0 only when there are none."""
    try:
        complaints = list(lint())
    except NotInstalled as error:
        print(f"Redocly and Spectral were not run: {error}", file=sys.stderr)
        return 1 if os.environ.get("CI") else 0
    print("\n".join(complaints) or "Redocly and Spectral have nothing to say", file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
