"""/docs in a real browser: both specs are shown, a call can be tried, no other host is asked for anything."""

import json
from typing import Literal

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Watched
from tests.support.gateway import ADMIN_KEY, Gateway

pytestmark = pytest.mark.browser

DIALECTS = {
    "Envelope dialect (/api/v1)": ("Anthropic Gateway, envelope dialect", "messages-create_message"),
    "Native dialect (/v1)": ("Anthropic Gateway, native dialect", "messages-messages_create"),
}
PHONE = {"width": 390, "height": 844}


@pytest.fixture
def documentation(sandboxed: Gateway, watched: Watched) -> Watched:
    answer = watched.page.goto(f"{sandboxed.url}/docs")
    assert answer is not None
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    return watched


def assert_nothing_amiss(gateway: Gateway, watched: Watched) -> None:
    assert watched.requests
    assert [url for _, url in watched.requests if not url.startswith(f"{gateway.url}/")] == []
    assert watched.complaints == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_both_specs_are_shown(sandboxed: Gateway, documentation: Watched, dialect: str) -> None:
    page, (title, operation) = documentation.page, DIALECTS[dialect]

    page.get_by_role("combobox").first.select_option(dialect)
    expect(page.locator(".info .title")).to_contain_text(title)
    page.locator("#operations-tag-messages").click()
    page.locator(f"#operations-{operation} .opblock-summary-control").click()

    expect(page.locator(f"#operations-{operation} .responses-table").first).to_contain_text("401")
    assert_nothing_amiss(sandboxed, documentation)


def test_the_chosen_dialect_outlives_a_reload(sandboxed: Gateway, documentation: Watched) -> None:
    page = documentation.page
    page.get_by_role("combobox").first.select_option("Native dialect (/v1)")
    expect(page.locator(".info .title")).to_contain_text("native dialect")

    answer = page.reload()

    assert answer is not None
    assert (answer.status, "Native" in page.url) == (200, True)
    expect(page.locator(".info .title")).to_contain_text("native dialect")
    assert_nothing_amiss(sandboxed, documentation)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_operation_says_which_scope_it_needs(documentation: Watched, dialect: str) -> None:
    page, (title, operation) = documentation.page, DIALECTS[dialect]

    page.get_by_role("combobox").first.select_option(dialect)
    expect(page.locator(".info .title")).to_contain_text(title)
    page.locator("#operations-tag-messages").click()
    page.locator(f"#operations-{operation} .opblock-summary-control").click()

    expect(page.locator(f"#operations-{operation}")).to_contain_text("Scope of the key: messages")


def test_the_console_is_a_click_away(sandboxed: Gateway, documentation: Watched) -> None:
    page = documentation.page

    page.get_by_role("link", name="Console").click()

    expect(page.get_by_label("Gateway key")).to_be_focused()
    assert page.url == f"{sandboxed.url}/"


TRIED = {
    "Envelope dialect (/api/v1)": ("create_message", "/api/v1/messages/create", "success"),
    "Native dialect (/v1)": ("messages_create", "/v1/messages", "content"),
}
"""By dialect: an operation, where it goes, and a member of its answer."""


@pytest.mark.parametrize("scheme", ["x-api-key", "Bearer"])
@pytest.mark.parametrize("dialect", TRIED)
def test_a_call_can_be_tried(sandboxed: Gateway, documentation: Watched, dialect: str, scheme: str) -> None:
    page, (name, path, member) = documentation.page, TRIED[dialect]

    page.get_by_role("combobox").first.select_option(dialect)
    expect(page.locator(".info .title")).to_contain_text(DIALECTS[dialect][0])
    page.locator(".auth-wrapper .authorize").first.click()
    key = page.locator(".auth-container").filter(has_text=scheme)
    key.locator("input").fill(ADMIN_KEY)
    key.get_by_role("button", name="Authorize").click()
    page.locator(".btn-done").first.click()
    page.locator("#operations-tag-messages").click()
    operation = page.locator(f"#operations-messages-{name}")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    with page.expect_response(f"**{path}") as answered:
        operation.get_by_role("button", name="Execute").click()

    answer = answered.value
    assert answer.status == 200
    assert member in json.loads(answer.body())
    expect(operation.locator(".live-responses-table td.response-col_status").last).to_contain_text("200")
    assert_nothing_amiss(sandboxed, documentation)


def test_a_call_can_be_tried_as_its_example_stands(sandboxed: Gateway, documentation: Watched) -> None:
    page = documentation.page

    page.get_by_role("combobox").first.select_option("Native dialect (/v1)")
    expect(page.locator(".info .title")).to_contain_text("native dialect")
    page.locator(".auth-wrapper .authorize").first.click()
    key = page.locator(".auth-container").filter(has_text="x-api-key")
    key.locator("input").fill(ADMIN_KEY)
    key.get_by_role("button", name="Authorize").click()
    page.locator(".btn-done").first.click()
    page.locator("#operations-tag-agents").click()
    operation = page.locator("#operations-agents-beta_agents_update")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    with page.expect_request("**/v1/agents/*") as asked:
        operation.get_by_role("button", name="Execute").click()

    assert asked.value.url.rpartition("/")[2].startswith("agent_")
    assert json.loads(asked.value.post_data or "")["metadata"] == {"team": "kitchen"}
    expect(operation.locator(".live-responses-table td.response-col_status").last).to_contain_text("200")
    assert_nothing_amiss(sandboxed, documentation)


def test_a_phone_needs_no_sideways_scrolling(sandboxed: Gateway, documentation: Watched) -> None:
    page = documentation.page
    page.set_viewport_size(PHONE)

    page.locator("#operations-tag-messages").click()
    page.locator("#operations-messages-stream_message .opblock-summary-control").click()
    expect(page.locator("#operations-messages-stream_message .responses-table").first).to_be_visible()

    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.get_by_role("combobox").first.select_option("Native dialect (/v1)")
    expect(page.locator("#operations-tag-organizations_spend_limit_increase_requests")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert_nothing_amiss(sandboxed, documentation)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_dialog_is_in_sight_and_escape_closes_it(
    sandboxed: Gateway, documentation: Watched, scheme: Literal["light", "dark"]
) -> None:
    """Also far down the page: in the dark a filter lies over all, which could hold the dialog at the top."""
    page = documentation.page
    page.emulate_media(color_scheme=scheme)
    page.locator("#operations-tag-keys").click()
    page.locator(".opblock .authorization__btn").last.click()
    box = page.locator(".modal-ux").bounding_box()
    assert box is not None
    assert page.evaluate("scrollY") > 0
    assert page.viewport_size is not None
    assert 0 <= box["y"] < box["y"] + box["height"] <= page.viewport_size["height"]
    inverted = "invert" in page.evaluate("getComputedStyle(document.documentElement).filter")
    assert inverted == (scheme == "dark")

    page.keyboard.press("Escape")

    expect(page.locator(".modal-ux")).to_have_count(0)
    assert_nothing_amiss(sandboxed, documentation)
