"""The pictures of the docs: made by each run, kept in docs/images by `make screenshots`."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.browser.conftest import Watched
from tests.browser.console import ask, open_view, sign_in
from tests.browser.history import KEYS, busy_gateway
from tests.support.client import Client
from tests.support.gateway import ROOT, Gateway

pytestmark = pytest.mark.browser

IMAGES = ROOT / "docs" / "images"
LARGEST = 150_000
"""Bytes: the pictures are part of the repository."""

DESK: ViewportSize = {"width": 1280, "height": 860}
PHONE: ViewportSize = {"width": 390, "height": 844}


class Picture(NamedTuple):
    """What is seen, on what, and in which colours."""

    subject: str
    size: ViewportSize
    dark: bool = False

    @property
    def name(self) -> str:
        """What its file is called."""
        on = "phone" if self.size is PHONE else "desktop"
        return f"{self.subject}-{on}-{'dark' if self.dark else 'light'}.png"


PICTURES = (
    Picture("playground", DESK),
    Picture("requests", DESK),
    Picture("usage", DESK),
    Picture("usage", DESK, dark=True),
    Picture("keys", DESK),
    Picture("playground", PHONE),
    Picture("usage", PHONE, dark=True),
    Picture("keys", PHONE),
    Picture("docs", DESK),
    Picture("docs", PHONE),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pictures go."""
    given = os.environ.get("SCREENSHOTS")
    return Path(given).absolute() if given else tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def lively(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway while its apps, and nobody else, are at work."""
    with busy_gateway(tmp_path_factory.mktemp("lively")) as gateway, at_work(gateway):
        yield gateway


@contextmanager
def at_work(gateway: Gateway) -> Iterator[None]:
    """Calls of the apps, the last of which takes its time."""
    by_name = {key["name"]: key["id"] for key in gateway.call("GET", "/api/v1/keys").json()["data"]["data"]}
    clients = []
    for fields in KEYS:
        rotated = gateway.call("POST", f"/api/v1/keys/{by_name[fields['name']]}/rotate")
        clients.append(Client(gateway.url, rotated.json()["data"]["key"]))
    kitchen, album, study, _ = clients
    for client, model, words in (
        (kitchen, "claude-haiku-4-5", 40),
        (study, "claude-sonnet-4-20250514", 300),
        (album, "claude-sonnet-4-20250514", 120),
        (study, "sandbox-529", 10),
        (kitchen, "claude-haiku-4-5", 90),
        (album, "claude-3-opus-20240229", 60),
        (kitchen, "claude-haiku-4-5", 20),
    ):
        client.call("POST", "/api/v1/messages/create", message(model, words))
    slow = threading.Thread(
        target=study.call, args=("POST", "/api/v1/messages/create", message("sandbox-slow-4000ms", 80))
    )
    slow.start()
    yield
    slow.join()


def message(model: str, words: int) -> dict[str, Any]:
    said = f"Write 300 words. {'How are you? ' * words}"
    return {"model": model, "max_tokens": 4 * words, "messages": [{"role": "user", "content": said}]}


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_picture(chromium: Browser, lively: Gateway, folder: Path, picture: Picture) -> None:
    context = chromium.new_context(
        viewport=picture.size, color_scheme="dark" if picture.dark else "light", reduced_motion="reduce"
    )
    watched = Watched(context.new_page())

    show(watched, lively, picture)
    watched.page.screenshot(path=folder / picture.name)

    context.close()
    assert watched.complaints == []
    assert 10_000 < (folder / picture.name).stat().st_size < LARGEST


def show(watched: Watched, gateway: Gateway, picture: Picture) -> Page:
    """Bring a page to where it says most."""
    page = watched.page
    if picture.subject == "docs":
        page.goto(f"{gateway.url}/docs")
        page.locator("#operations-tag-messages").click()
        expect(page.locator("#operations-messages-create_message")).to_be_visible()
        page.evaluate("scrollTo(0, 0)")
        return page
    sign_in(watched, gateway)
    if picture.subject == "playground":
        page.get_by_label("Model", exact=True).select_option("claude-sonnet-4-20250514")
        page.get_by_label("System prompt").fill("You help in a small house. Be brief.")
        page.get_by_label("Temperature").fill("0.7")
        ask(page, "What should we call the little server in the cupboard?")
        ask(page, "Something shorter, please.")
        page.evaluate("scrollTo(0, 0)")
    else:
        open_view(page, picture.subject)
    if picture.subject == "requests":
        expect(page.locator("#calls")).to_contain_text("sandbox-529")
    return page


def test_the_pictures_of_the_docs_are_these() -> None:
    kept = {path.name: path.stat().st_size for path in IMAGES.iterdir()}

    assert set(kept) == {picture.name for picture in PICTURES}
    assert max(kept.values()) < LARGEST
    pages = "".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
    assert set(re.findall(r"!\[[^\]]+\]\(images/([^)]+)\)", pages)) <= set(kept)
