"""Write the table of docs/settings.md from the settings' own descriptions.

python -m tools.settings_page [--check]
"""

import argparse
import sys
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from gateway.settings import SECRETS, Settings

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
BEGIN = "<!-- table: python -m tools.settings_page -->\n"
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
    rows = ["| variable | default | what it does |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        file = " (`_FILE`)" if name.upper() in SECRETS else ""
        rows.append(f"| `{name.upper()}`{file} | {_default(field)} | {field.description} |")
    return "\n".join(rows) + "\n"


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value == ():
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or with `--check` tell that it is stale; return the exit code."""
    parser = argparse.ArgumentParser("python -m tools.settings_page")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the page is stale")
    check = parser.parse_args(arguments).check
    page = PAGE.read_text(encoding="utf-8")
    rendered = render(page)
    if rendered == page:
        return 0
    if check:
        print("docs/settings.md is stale: run make docs", file=sys.stderr)
        return 1
    PAGE.write_text(rendered, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
