"""Write the tables of docs/coverage.md: which operation serves each method of the installed `anthropic`.

python -m tools.coverage_page [--check]
"""

import argparse
import sys
from collections.abc import Iterator
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

import openapi
from gateway.catalog import Catalog, Operation
from tools.sdk_operations import SdkOperation, operations

PAGE = Path(__file__).parent.parent / "docs" / "coverage.md"
BEGIN = "<!-- tables: python -m tools.coverage_page -->\n"
END = "<!-- end of tables -->\n"


def render(page: str) -> str:
    """Return the page with its tables made anew.

    Raises:
        ValueError: the page lacks the two marks that enclose the tables.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page must hold {BEGIN.strip()} and {END.strip()}")
    catalog = Catalog({"native": openapi.load("native"), "envelope": openapi.load("envelope")})
    return "".join((before, begin, *_tables(catalog), end, after))


def _tables(catalog: Catalog) -> Iterator[str]:
    surface = {operation.id: operation for operation in operations()}
    names = sum(len(_names(operation)) for operation in surface.values())
    yield (
        f"`anthropic` {version('anthropic')} sends {len(surface)} distinct requests"
        f" through {names} methods.\n"
    )
    native = [operation for operation in catalog if operation.dialect == "native" and operation.sdk]
    envelope = [operation for operation in catalog if operation.dialect == "envelope"]
    for tag, group in groupby(native, key=lambda operation: operation.tag):
        yield f"\n## {tag}\n\n"
        yield "| SDK method | operation | method and path | served by | envelope |\n"
        yield "| --- | --- | --- | --- | --- |\n"
        for operation in group:
            methods = _names(surface[operation.id])
            counterparts = [one.id for one in envelope if set(one.sdk) & set(methods)]
            yield _row(operation, methods, counterparts)


def _names(operation: SdkOperation) -> list[str]:
    return [method.name for method in (*operation.methods, *operation.helpers)]


def _row(operation: Operation, methods: list[str], counterparts: list[str]) -> str:
    cells = (
        _codes(methods),
        _codes([operation.id]),
        _codes([f"{operation.method} {operation.path}"]),
        "forward" if operation.forward else _codes([operation.handler]),
        _codes(counterparts),
    )
    return f"| {' | '.join(cells)} |\n"


def _codes(names: list[str]) -> str:
    return "<br>".join(f"`{name}`" for name in names)


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or with `--check` tell that it is stale; return the exit code."""
    parser = argparse.ArgumentParser("python -m tools.coverage_page")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the page is stale")
    check = parser.parse_args(arguments).check
    page = PAGE.read_text(encoding="utf-8")
    rendered = render(page)
    if rendered == page:
        return 0
    if check:
        print("docs/coverage.md is stale: run make docs", file=sys.stderr)
        return 1
    PAGE.write_text(rendered, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
