"""A real Chromium, and pages in it that remember what they asked for and what went wrong."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.browser.history import busy_gateway
from tests.support.gateway import Gateway

ARGUMENTS = (
    "--no-sandbox",  # it will not run as root with one
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DEADLINE = 20_000.0
"""Milliseconds that anything in a page may take."""

expect.set_options(timeout=DEADLINE)


@dataclass
class Watched:
    """A page and what was seen of it: its requests as (method, URL), its console's warnings and errors."""

    page: Page
    requests: list[tuple[str, str]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(DEADLINE)
        self.page.on("request", self._requested)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _requested(self, request: Request) -> None:
        if not request.url.startswith("data:"):
            self.requests.append((request.method, request.url))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"warning", "error"}:
            self.complaints.append(message.text)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    # One a module: while it runs, its event loop is the thread's, and no other test may use one.
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is not installed")
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with a month behind it."""
    with busy_gateway(tmp_path_factory.mktemp("busy")) as gateway:
        yield gateway


@pytest.fixture
def watched(chromium: Browser) -> Iterator[Watched]:
    """A page of a fresh profile."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    yield Watched(context.new_page())
    context.close()
