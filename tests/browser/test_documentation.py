"""/docs in a real browser: both specs are shown, a call can be tried, no other host is asked for anything."""

import json

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


def test_a_call_can_be_tried(sandboxed: Gateway, documentation: Watched) -> None:
    page = documentation.page

    page.locator(".auth-wrapper .authorize").first.click()
    key = page.locator(".auth-container").filter(has_text="x-api-key")
    key.locator("input").fill(ADMIN_KEY)
    key.get_by_role("button", name="Authorize").click()
    page.locator(".btn-done").first.click()
    page.locator("#operations-tag-messages").click()
    operation = page.locator("#operations-messages-create_message")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    with page.expect_response("**/api/v1/messages/create") as answered:
        operation.get_by_role("button", name="Execute").click()

    answer = answered.value
    assert answer.status == 200
    assert json.loads(answer.body())["success"] is True
    expect(operation.locator(".live-responses-table td.response-col_status").last).to_contain_text("200")
    assert_nothing_amiss(sandboxed, documentation)


def test_a_phone_needs_no_sideways_scrolling(sandboxed: Gateway, documentation: Watched) -> None:
    page = documentation.page
    page.set_viewport_size(PHONE)

    page.locator("#operations-tag-messages").click()
    page.locator("#operations-messages-stream_message .opblock-summary-control").click()
    expect(page.locator("#operations-messages-stream_message .responses-table").first).to_be_visible()

    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert_nothing_amiss(sandboxed, documentation)
