"""The programs on the pages do what the pages say, against the sandbox."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.gateway import ADMIN_KEY, Gateway

DOCS = Path(__file__).parents[2] / "docs"
ADDRESS = "http://127.0.0.1:8000"
BLOCK = re.compile(r"^```(?P<language>python|bash)\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)
PRINTED = {
    "batches.md": {
        "python": r"(monday|tuesday) .*Suggest.*\n(monday|tuesday) .*Suggest.*\n",
        "bash": "monday\n",
    },
    "files.md": {
        "python": r".*What is there on Monday\?.*\n",
        "bash": r"21\n(.*\n)*meals\.txt\n(.*\n)*file_deleted\n",
    },
}
SNIPPETS = [
    (page, block["language"], block["code"])
    for page in PRINTED
    for block in BLOCK.finditer((DOCS / page).read_text())
]


def test_each_page_has_both() -> None:
    assert [(page, language) for page, language, _ in SNIPPETS] == [
        (page, language) for page, languages in PRINTED.items() for language in languages
    ]


@pytest.mark.parametrize(
    ("page", "language", "code"), SNIPPETS, ids=[f"{page} - {language}" for page, language, _ in SNIPPETS]
)
def test_snippet(sandboxed: Gateway, tmp_path: Path, page: str, language: str, code: str) -> None:
    programs = {
        "python": [sys.executable, "-W", "error", "-c"],
        "bash": [program("bash"), "-euo", "pipefail", "-c"],
    }
    if language == "bash":
        for name in ("curl", "jq"):
            program(name)
    assert ADDRESS in code

    ended = subprocess.run(
        [*programs[language], code.replace(ADDRESS, sandboxed.url)],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "KEY": ADMIN_KEY},
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.fullmatch(PRINTED[page][language], ended.stdout), ended.stdout
    if language == "bash":
        assert_files(page, tmp_path)


def assert_files(page: str, folder: Path) -> None:
    """What the page's commands have written."""
    if page == "files.md":
        assert (folder / "copy.txt").read_bytes() == (folder / "meals.txt").read_bytes()
    else:
        assert len((folder / "results.jsonl").read_text().splitlines()) == 1


def program(name: str) -> str:
    """The path of a program. Without it the test is skipped, in CI it fails."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")
    return found
