"""What the pages show of generated clients, and of the TypeScript SDK, compiles and runs."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import stories
from tests.support.gateway import ADMIN_KEY, Gateway
from tests.support.snippets import ADDRESS, snippet

pytestmark = pytest.mark.clients

PRINTED = {
    "README.md > First calls > python #2": r".*Hello, Claude!.*\n",
    "docs/quickstart.md > Python > python": r"\d+ tokens\n(?s:.*)Suggest a dinner\.(?s:.*)",
    "docs/quickstart.md > TypeScript > ts": r"\d+ tokens\n(?s:.*)Suggest a dinner\.(?s:.*)",
    "docs/quickstart.md > TypeScript: the official SDK > ts": r"(?s:.*Suggest a dinner\.){2}(?s:.*)",
    "docs/quickstart.md > Go > go": r"(?s:.*)Suggest a dinner\.(?s:.*)",
}
LANGUAGES = {"python": "python", "ts": "typescript", "go": "go"}


@pytest.mark.parametrize("place", PRINTED)
def test_snippet(sandboxed: Gateway, tmp_path: Path, place: str) -> None:
    code = snippet(place)
    assert ADDRESS in code
    language = LANGUAGES[place.rpartition(" > ")[2].partition(" ")[0]]
    story = stories.prepare(language, tmp_path / language)
    (source,) = story.folder.glob("story.*")
    source.write_text(code.replace(ADDRESS, sandboxed.url))
    story = replace(story, environment={**story.environment, "KEY": ADMIN_KEY})
    if language != "python":
        story.check()

    assert re.fullmatch(PRINTED[place], story.tell(sandboxed.url, ADMIN_KEY))


def test_the_python_client_is_a_package_that_pip_installs(tmp_path: Path) -> None:
    assert "pip install ./clients/python" in snippet("README.md > First calls > bash #4")
    stories.prepare("python", tmp_path / "story")
    install = ["uv", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path / "installed")]

    subprocess.run(
        [sys.executable, "-m", *install, str(tmp_path / "story" / "client")], check=True, timeout=300
    )

    assert (tmp_path / "installed" / "anthropic_gateway_client" / "py.typed").exists()
