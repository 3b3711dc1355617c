"""The page of README: served as it says, beside `make run`, it streams a message for who has the key."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import expect

from gateway.settings import VARIABLES
from tests.browser.conftest import Watched
from tests.support.gateway import ROOT
from tests.support.snippets import ADDRESS, snippet
from tools.demo import ORIGINS

pytestmark = pytest.mark.browser

SERVE = shlex.split(snippet("README.md > First calls > bash #3"))


@contextmanager
def started(command: list[str], says: str, **variables: str) -> Iterator[re.Match[str]]:
    """A program of the README, and what it says when it is ready."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    with subprocess.Popen(
        [sys.executable, "-u", *command],
        cwd=ROOT,
        env=environment | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout
            yield next(filter(None, (re.search(says, line) for line in process.stdout)))
        finally:
            process.terminate()  # not by SIGINT, which a shell's background jobs ignore, and their children
            process.communicate(timeout=30)


def test_the_page_streams(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    serve = [word.replace("8080", "0") for word in SERVE[1:]]
    assert (SERVE[0], f"http://127.0.0.1:{SERVE[3]}" in ORIGINS.split(",")) == ("python3", True)
    with started(serve, r"port (\d+)") as served:
        origin = f"http://127.0.0.1:{served[1]}"
        demo = ["-m", "tools.demo", "--state", str(tmp_path)]
        with started(demo, r"Ready at (\S+)", PORT="0", CORS_ORIGINS=origin) as ready:
            page.goto(f"{origin}/stream.html")
            assert page.get_by_label("Gateway").input_value() == ADDRESS
            page.get_by_label("Gateway").fill(ready[1])
            page.get_by_label("Key").fill((tmp_path / "admin-key").read_text().strip())
            page.get_by_role("button", name="Ask").click()
            expect(page.locator("output")).to_contain_text(re.compile(r"word60.*\d+ tokens", re.DOTALL))
            assert watched.complaints == []

            page.get_by_label("Key").fill("sk-gw-wrong")
            page.get_by_role("button", name="Ask").click()
            expect(page.locator("output")).to_contain_text("key")
            expect(page.locator("output")).not_to_contain_text("tokens")
