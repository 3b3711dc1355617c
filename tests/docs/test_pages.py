"""What the pages tell a reader to do or to open is there."""

import re
import shlex
from pathlib import Path

import pytest

from gateway import cli

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "openapi", "sandbox", "bench", "prometheus")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
BLOCK = re.compile(r"^```(?:bash|sh)\n(?P<lines>.*?)^```", re.MULTILINE | re.DOTALL)

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def commands(page: Path, program: str) -> list[list[str]]:
    """The arguments of each call of a program in the page's shell blocks and in its `code`."""
    text = page.read_text()
    lines = [line for block in BLOCK.finditer(text) for line in block["lines"].splitlines()]
    lines += re.findall(r"`([^`\n]+)`", text)
    calls = (call.strip() for line in lines for call in line.split("&&"))
    return [
        shlex.split(call, comments=True)[len(program.split()) :]
        for call in calls
        if f"{call} ".startswith(f"{program} ")
    ]


def heading_ids(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pages
def test_links_resolve(page: Path) -> None:
    for link in LINK.finditer(page.read_text()):
        target, _, fragment = link["target"].partition("#")
        if re.match(r"(https?|mailto):", target):
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link["target"]
        assert not fragment or fragment in heading_ids(path), link["target"]


@pages
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for arguments in commands(page, "make"):
        assert set(arguments) <= targets, arguments


@pages
def test_commands_exist(page: Path) -> None:
    for arguments in commands(page, "python main.py"):
        with pytest.raises(SystemExit) as ended:
            cli.main([*arguments[:1], "--help"])
        assert ended.value.code == 0, arguments


@pages
def test_modules_exist(page: Path) -> None:
    for arguments in commands(page, "python -m"):
        module = ROOT.joinpath(*arguments[0].split("."))
        assert module.with_suffix(".py").exists() or (module / "__main__.py").exists(), arguments


def test_every_command_of_the_makefile_has_a_help_line() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)

    assert set(phony.split()) == set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))


def test_the_readme_starts_with_its_two_commands() -> None:
    first = BLOCK.search((ROOT / "README.md").read_text())

    assert first
    assert re.findall(r"^make \w+", first["lines"], re.MULTILINE) == ["make run", "make test"]


def test_every_decision_is_in_the_list() -> None:
    index = (ROOT / "docs" / "adr" / "README.md").read_text()
    for record in sorted((ROOT / "docs" / "adr").glob("0*.md")):
        title = record.read_text().splitlines()[0].removeprefix("# ")
        assert f"| [{title[:4]}]({record.name}) | {title[5:]} |" in index
