"""The console for everybody: by keyboard, on a phone, in the dark, with little sight, by ear."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watched
from tests.browser.console import VIEWS, ask, new_app, open_view, sign_in
from tests.support.gateway import Gateway

pytestmark = pytest.mark.browser

AUDIT = Path(__file__).with_name("audit.js").read_text()


@pytest.fixture
def page(busy: Gateway, watched: Watched) -> Page:
    return sign_in(watched, busy)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_names_structure_and_contrast(
    busy: Gateway, watched: Watched, scheme: Literal["light", "dark"]
) -> None:
    page = watched.page
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    faults: dict[str, list[str]] = {}

    page.goto(f"{busy.url}/")
    page.get_by_role("button", name="Sign in").click()
    faults["sign in"] = page.evaluate(AUDIT)
    sign_in(watched, busy)
    ask(page, "Hello")
    for view in VIEWS:
        open_view(page, view)
        faults[view] = page.evaluate(AUDIT)
    for button in ("New key", "Edit study", "Revoke study", "Rotate study"):
        page.get_by_role("button", name=button).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        faults[button] = page.evaluate(AUDIT)
        page.keyboard.press("Escape")

    assert [fault for found in faults.values() for fault in found] == []
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 19, 21)"
    assert dark == (scheme == "dark")


def test_the_audit_finds_what_is_wrong(busy: Gateway, watched: Watched) -> None:
    page = sign_in(watched, busy)
    page.evaluate(
        """() => {
          document.querySelector("label[for=system]").remove();
          document.getElementById("code-title").id = "model";
          document.querySelector(".hint").style.color = "#aaaaaa";
          document.getElementById("message").style.borderColor = "#dddddd";
        }"""
    )

    faults = "\n".join(page.evaluate(AUDIT))

    for fault in ("no name: <textarea id=system", "id twice: model", "leads nowhere: code-title"):
        assert fault in faults
    assert re.search(r"contrast 1\.\d\d of the edge: <textarea id=message", faults)


@pytest.mark.parametrize("width", [320, 390, 768])
def test_no_width_needs_sideways_scrolling(busy: Gateway, watched: Watched, width: int) -> None:
    page = watched.page
    page.set_viewport_size({"width": width, "height": 700})
    page.goto(f"{busy.url}/")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sign_in(watched, busy)
    ask(page, "A" * 200)
    for view in VIEWS:
        open_view(page, view)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view
    page.get_by_role("button", name="New key").click()
    box = page.locator("#key-dialog").bounding_box()
    assert box is not None
    assert 0 <= box["x"] <= box["x"] + box["width"] <= width
    assert page.locator("#key-dialog").evaluate("it => it.scrollWidth <= it.clientWidth")


@pytest.mark.parametrize("width", [320, 1000, 1280])
def test_a_long_name_leaves_room_for_what_stands_beside_it(
    busy: Gateway, watched: Watched, width: int
) -> None:
    app, key = new_app(busy, f"{width} {'W' * 50}", models=["claude-haiku-*", "m" * 100])
    said = {"model": "claude-haiku-4-5", "max_tokens": 10, "messages": [{"role": "user", "content": "Hello"}]}
    assert app.call("POST", "/api/v1/messages/create", said).status == 200
    watched.page.set_viewport_size({"width": width, "height": 800})
    page = sign_in(watched, busy, key)
    for view, table in (("requests", "#calls"), ("keys", "#key-table")):
        open_view(page, view)
        card = page.locator(".card", has=page.locator(table))
        assert card.evaluate("it => it.scrollWidth <= it.clientWidth"), view


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_costs_far_below_a_cent_have_room(busy: Gateway, watched: Watched, width: int) -> None:
    app, key = new_app(busy, f"frugal {width}")
    said = {"model": "claude-haiku-4-5", "max_tokens": 10, "messages": [{"role": "user", "content": "Hello"}]}
    assert app.call("POST", "/api/v1/messages/create", said).status == 200
    watched.page.set_viewport_size({"width": width, "height": 800})
    page = sign_in(watched, busy, key)
    expect(page.get_by_role("link", name="API docs")).to_be_visible()

    open_view(page, "requests")
    cost = page.locator("#calls td[data-label=Cost]")
    expect(cost).to_contain_text("$0.0000")
    assert cost.evaluate("it => it.scrollWidth <= it.clientWidth")

    open_view(page, "usage")
    assert page.locator("#totals dd").first.evaluate("it => it.scrollWidth <= it.clientWidth")
    for days in (7, 30, 90):
        page.locator(f"label[for=range-{days}]").click()
        expect(page.locator("#chart .column")).to_have_count(days)
        chart = page.locator("#chart svg").bounding_box()
        boxes = [tick.bounding_box() for tick in page.locator("#chart .tick").all()]
        assert chart is not None
        ticks = [(box["x"], box["x"] + box["width"], box["y"]) for box in boxes if box]
        assert min(left for left, _, _ in ticks) >= chart["x"]
        assert max(right for _, right, _ in ticks) <= chart["x"] + chart["width"]
        labels = sorted(tick for tick in ticks if tick[2] == ticks[-1][2])
        assert len(labels) > 1
        assert all(one[1] < other[0] for one, other in pairwise(labels))


def test_who_goes_by_keys_keeps_their_place_among_the_keys(busy: Gateway, page: Page) -> None:
    new_app(busy, "by keyboard")
    open_view(page, "keys")

    rotate = page.get_by_role("button", name="Rotate by keyboard")
    rotate.press("Enter")
    page.get_by_role("button", name="Rotate", exact=True).press("Enter")
    with page.expect_response("**/api/v1/keys?*") as loaded:
        page.get_by_role("button", name="I have stored it").press("Enter")
    loaded.value.finished()
    page.wait_for_function("() => document.activeElement.ariaLabel === 'Rotate by keyboard'")

    page.get_by_role("button", name="Revoke by keyboard").press("Enter")
    page.get_by_role("button", name="Revoke", exact=True).press("Enter")
    expect(page.get_by_role("button", name="Revoke by keyboard")).to_have_count(0)
    expect(page.get_by_role("button", name="New key")).to_be_focused()


def test_everything_can_be_reached_by_keys_and_seen_when_it_is(page: Page) -> None:
    ask(page, "Hello")
    reached = set()
    page.locator("#skip").focus()
    for _ in range(40):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            """() => {
              const it = document.activeElement, style = getComputedStyle(it);
              return [it.id || it.textContent.trim(), style.outlineStyle, it.checkVisibility()];
            }"""
        )
        if focused[0] in reached or page.evaluate("document.activeElement === document.body"):
            break
        reached.add(focused[0])
        assert focused[1:] == ["solid", True], focused[0]

    assert {
        "Requests",
        "Usage",
        "Keys",
        "sign-out",
        "message",
        "send",
        "model",
        "system",
        "max-tokens",
    } <= reached
    assert {"temperature", "tab-curl", "copy-code"} <= reached
    page.locator("#tab-curl").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Python")).to_be_focused()
    expect(page.get_by_role("tab", name="Python")).to_have_attribute("aria-selected", "true")
    page.locator("#skip").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    expect(page.locator("#playground")).to_be_visible()
