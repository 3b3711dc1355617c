"""Write the table of docs/metrics.md from the metrics' own descriptions.

python -m tools.metrics_page [--check]
"""

import argparse
import sys
from operator import attrgetter
from pathlib import Path

from gateway.metrics.scrape import DESCRIPTIONS

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"
BEGIN = "<!-- table: python -m tools.metrics_page -->\n"
END = "<!-- end of table -->\n"


def render(page: str) -> str:
    """Return the page with its table made anew.

    Raises:
        ValueError: the page lacks the two marks that enclose the table.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page must hold {BEGIN.strip()} and {END.strip()}")
    return "".join((before, begin, _table(), end, after))


def _table() -> str:
    rows = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    for metric in sorted(DESCRIPTIONS, key=attrgetter("name")):
        shown = f"{metric.name}_total" if metric.kind == "counter" else metric.name
        labels = " ".join(f"`{label}`" for label in metric.labels)
        rows.append(f"| `{shown}` | {metric.kind} | {labels} | {metric.text} |")
    return "\n".join(rows) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or with `--check` tell that it is stale; return the exit code."""
    parser = argparse.ArgumentParser("python -m tools.metrics_page")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the page is stale")
    check = parser.parse_args(arguments).check
    page = PAGE.read_text(encoding="utf-8")
    rendered = render(page)
    if rendered == page:
        return 0
    if check:
        print("docs/metrics.md is stale: run make docs", file=sys.stderr)
        return 1
    PAGE.write_text(rendered, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
