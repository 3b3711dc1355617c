"""Write the tables of docs/reliability.md from what the last run of the fault tests saw.

python -m tools.reliability_page [--check | --run]
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"
FAULTS = ROOT / "tests" / "faults"
KEPT = FAULTS / "table.json"
PARTS = ("upstream", "caller", "host")


def render(page: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the page with its tables made anew.

    Args:
        page: the page as it stands.
        rows: what was seen, as `tests/faults/table.json` holds it.

    Raises:
        ValueError: the page lacks the two marks that enclose a table.
    """
    rows = list(rows)
    for part in PARTS:
        begin, end = f"<!-- table: {part} -->\n", "<!-- end of table -->\n"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"the page must hold {begin.strip()} and {end.strip()}")
        page = "".join((before, begin, _table(row for row in rows if row["part"] == part), end, after))
    return page


def _table(rows: Iterable[Mapping[str, Any]]) -> str:
    lines = ["| fault | the caller gets | booked | what rises |", "| --- | --- | --- | --- |"]
    for row in rows:
        moved = "<br>".join(f"`{name}`" for name in row["metrics"]) or "nothing"
        lines.append(f"| {row['fault']} | {_outcomes(row['outcomes'])} | {row['booked'] or '-'} | {moved} |")
    return "\n".join(lines) + "\n"


def _outcomes(outcomes: Mapping[str, str]) -> str:
    """Each outcome once, with the kinds of call that had it."""
    kinds: dict[str, list[str]] = {}
    for kind, outcome in outcomes.items():
        kinds.setdefault(outcome, []).append(kind)
    if len(kinds) == 1:
        return next(iter(kinds))
    return "<br>".join(f"{', '.join(names)}: {outcome}" for outcome, names in kinds.items())


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or with `--check` tell that it is stale; return the exit code."""
    parser = argparse.ArgumentParser("python -m tools.reliability_page")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the page is stale")
    parser.add_argument("--run", action="store_true", help="run the fault tests first and keep what they see")
    options = parser.parse_args(arguments)
    if options.run:
        KEPT.unlink(missing_ok=True)
        tests = [sys.executable, "-m", "pytest", str(FAULTS)]
        recording = os.environ | {"RECORD_FAULTS": "1"}
        if code := subprocess.run(tests, cwd=ROOT, env=recording, check=False).returncode:
            return code
    page = PAGE.read_text(encoding="utf-8")
    rendered = render(page, json.loads(KEPT.read_text(encoding="utf-8")))
    if rendered == page:
        return 0
    if options.check:
        print("docs/reliability.md is stale: run make docs", file=sys.stderr)
        return 1
    PAGE.write_text(rendered, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
