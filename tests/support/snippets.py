"""The programs and files that the pages show."""

import re
from typing import NamedTuple

from tests.support.gateway import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
PART = re.compile(
    r"^(?:#+ (?P<heading>[^\n]+)|```(?P<language>\w*)\n(?P<code>.*?)^```)$", re.MULTILINE | re.DOTALL
)


ADDRESS = "http://127.0.0.1:8000"
"""What a reader replaces by his own gateway."""


class Snippet(NamedTuple):
    """One fenced block."""

    language: str
    code: str


def snippets() -> dict[str, Snippet]:
    """All blocks of README and docs by place: page, heading, language, and a number from the second on."""
    found: dict[str, Snippet] = {}
    for page in PAGES:
        heading = ""
        for part in PART.finditer(page.read_text()):
            if part["heading"]:
                heading = part["heading"]
                continue
            place = f"{page.relative_to(ROOT)} > {heading} > {part['language']}"
            number = sum(one.partition(" #")[0] == place for one in found) + 1
            found[place if number == 1 else f"{place} #{number}"] = Snippet(part["language"], part["code"])
    return found


def snippet(place: str) -> str:
    """The code of a block; KeyError where the page has none there."""
    return snippets()[place].code
