"""The console's requests, usage, budgets and keys, in a real browser."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watched
from tests.browser.console import ask, assert_quiet, new_app, open_view, sign_in
from tests.support.client import Client
from tests.support.gateway import Gateway

pytestmark = pytest.mark.browser


@pytest.fixture
def page(busy: Gateway, watched: Watched) -> Iterator[Page]:
    """The console, signed in as admin, where nothing may go amiss."""
    yield sign_in(watched, busy)
    assert_quiet(busy, watched)


def test_calls_appear_by_themselves_and_not_while_paused(busy: Gateway, watched: Watched, page: Page) -> None:
    kitchen, _ = new_app(busy, "live kitchen")
    body = {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "Hello"}]}
    page.clock.install()
    open_view(page, "requests")

    kitchen.call("POST", "/api/v1/messages/create", body)
    page.clock.run_for(2_000)
    row = page.locator("#calls tbody tr").first
    expect(row).to_contain_text("live kitchen")
    expect(row).to_contain_text("claude-haiku-4-5")
    expect(row).to_contain_text("200")
    row.evaluate("row => { row.mark = 'the same' }")
    with page.expect_response("**/usage/calls*"):
        page.clock.run_for(2_000)
    assert row.evaluate("row => row.mark") == "the same", "a row that says the same is left alone"

    page.get_by_label("Filter").fill("LIVE haiku")
    expect(page.locator("#calls tbody tr:visible")).to_have_count(1)
    page.get_by_label("Filter").fill("live opus")
    expect(page.get_by_text("None of the latest calls is like that.")).to_be_visible()
    page.get_by_label("Filter").fill("")
    expect(row).to_be_visible()

    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#live-text")).to_have_text("Paused")
    asked = len(watched.requests)
    page.clock.run_for(20_000)
    assert len(watched.requests) == asked
    with page.expect_response("**/usage/calls*"):
        page.get_by_role("button", name="Resume").click()


def test_a_key_sees_its_own_calls(busy: Gateway, watched: Watched) -> None:
    _, key = new_app(busy, "own calls")
    page = sign_in(watched, busy, key)

    page.get_by_role("link", name="Requests").click()
    expect(page.locator("#calls-empty")).to_be_visible()
    page.get_by_role("link", name="Playground").click()
    ask(page, "Hello")
    page.get_by_role("link", name="Requests").click()

    expect(page.locator("#calls tbody tr")).to_have_count(1)


def test_usage_agrees_with_the_api(busy: Gateway, page: Page) -> None:
    open_view(page, "usage")
    expect(page.locator("#chart .column")).to_have_count(30)

    report = page.evaluate(
        """async () => {
          const key = sessionStorage.getItem("anthropic-gateway-key");
          const first = new Date(Date.now() - 29 * 86_400_000).toISOString().slice(0, 10);
          const answer = await fetch(`api/v1/usage?from=${first}`, { headers: { "x-api-key": key } });
          return (await answer.json()).data;
        }"""
    )
    requests = f"{report['total']['requests']:,}"
    expect(page.locator("#totals")).to_contain_text(f"${float(report['total']['cost_usd']):.2f}")
    expect(page.locator("#totals")).to_contain_text(requests)
    names = page.locator("#by-key tbody th").all_inner_texts()
    assert set(names) == {row["key"] for row in report["rows"]}
    assert set(page.locator("#by-model tbody th").all_inner_texts()) == {
        row["model"] for row in report["rows"]
    }

    page.locator("label[for=measure-requests]").click()
    expect(page.locator("#chart-title")).to_have_text("Requests by day")
    expect(page.locator(".readout")).to_contain_text(requests)
    page.locator("label[for=split-model]").click()
    expect(page.locator("#chart .legend")).to_contain_text("claude-haiku-4-5")
    page.locator("label[for=range-7]").click()
    expect(page.locator("#chart .column")).to_have_count(7)


def test_the_chart_is_read_by_mouse_by_keys_and_as_a_table(page: Page) -> None:
    open_view(page, "usage")
    readout = page.locator(".readout strong")
    whole = readout.inner_text()

    page.locator("#chart .column").nth(10).hover()
    tenth = readout.inner_text()
    assert tenth != whole
    page.locator("#chart svg").focus()
    page.keyboard.press("ArrowRight")
    assert readout.inner_text() not in {whole, ""}
    page.keyboard.press("Escape")
    expect(readout).to_have_text(whole)

    page.get_by_text("As a table").click()
    columns = page.locator("#chart thead th").all_inner_texts()
    assert (columns[0], columns[-1]) == ("Day", "Total")
    assert page.locator("#chart tbody tr").count() > 10


def test_budgets_are_bars(busy: Gateway, page: Page) -> None:
    open_view(page, "usage")

    meter = page.get_by_role("meter", name="kitchen, today")
    expect(meter).to_have_attribute("aria-valuemax", "2")
    text = meter.get_attribute("aria-valuetext") or ""
    assert re.fullmatch(r"\$[\d.]+ of \$2\.00 today", text)
    used = min(float(text.split("$")[1].split()[0]) / 2, 1)
    wide, filled = (
        box["width"] for box in (meter.bounding_box(), meter.locator("span").bounding_box()) if box
    )
    assert filled / wide == pytest.approx(used, abs=0.03)
    for name in ("photo album, today", "photo album, this month", "study, this month"):
        expect(page.get_by_role("meter", name=name)).to_be_visible()


def test_a_key_with_the_name_of_a_revoked_one_begins_with_its_whole_budget(busy: Gateway, page: Page) -> None:
    body = {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "Hello"}]}
    former, _ = new_app(busy, "loft", budget={"usd_per_day": 1})
    assert former.call("POST", "/api/v1/messages/create", body).status == 200
    own = former.call("GET", "/api/v1/keys/self").json()["data"]
    busy.call("DELETE", f"/api/v1/keys/{own['id']}")
    new_app(busy, "loft", budget={"usd_per_day": 1})

    open_view(page, "usage")

    expect(page.get_by_role("meter", name="loft, today")).to_have_attribute("aria-valuenow", "0")


def test_the_life_of_a_key(busy: Gateway, page: Page) -> None:
    open_view(page, "keys")
    page.get_by_role("button", name="New key").click()
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    page.get_by_label("Name", exact=True).fill("garden")
    for scope in ("batches", "models", "files", "skills"):
        page.get_by_role("checkbox", name=scope, exact=True).uncheck()
    page.get_by_label("Models", exact=True).fill("claude-haiku-*, claude-sonnet-*")
    page.get_by_label("A day").fill("1.50")
    page.get_by_label("Requests at a time").fill("2")
    page.get_by_label("Expires").fill("2099-01-02T03:04")
    page.get_by_role("button", name="Create key").click()

    expect(page.locator("#secret")).to_contain_text("sk-gw-")
    secret = page.locator("#secret").inner_text()
    assert Client(busy.url, secret).call("GET", "/api/v1/keys/self").json()["data"]["name"] == "garden"
    page.get_by_role("button", name="I have stored it").click()
    expect(page.locator("#secret")).to_be_empty()
    assert secret not in page.content()
    row = page.locator("#key-table tbody tr").filter(has_text="garden")
    for text in ("messages", "claude-haiku-*", "2 at a time", "$1.50 a day", "2 Jan 2099, 03:04"):
        expect(row).to_contain_text(text)

    row.get_by_role("button", name="Edit garden").click()
    expect(page.get_by_label("Models", exact=True)).to_have_value("claude-haiku-*, claude-sonnet-*")
    page.get_by_label("Name", exact=True).fill("green house")
    page.get_by_label("A day").fill("")
    page.get_by_role("button", name="Save").click()
    row = page.locator("#key-table tbody tr").filter(has_text="green house")
    expect(row).not_to_contain_text("$1.50")
    own = Client(busy.url, secret).call("GET", "/api/v1/keys/self").json()["data"]
    assert (own["budget"]["usd_per_day"], own["limits"]["concurrency"]) == (None, 2)
    assert own["expires_at"].startswith("2099-01-0")

    row.get_by_role("button", name="Rotate green house").click()
    page.get_by_label("The old secret works on for").select_option("no time at all")
    page.get_by_role("button", name="Rotate", exact=True).click()
    expect(page.locator("#secret")).to_contain_text("sk-gw-")
    rotated = page.locator("#secret").inner_text()
    assert rotated != secret
    page.keyboard.press("Escape")
    assert Client(busy.url, secret).call("GET", "/api/v1/keys/self").status == 401
    assert Client(busy.url, rotated).call("GET", "/api/v1/keys/self").status == 200

    row.get_by_role("button", name="Revoke green house").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(row).to_be_visible()
    row.get_by_role("button", name="Revoke green house").click()
    page.get_by_role("button", name="Revoke", exact=True).click()
    expect(row).to_have_count(0)
    assert Client(busy.url, rotated).call("GET", "/api/v1/keys/self").status == 401
    page.get_by_label("Show revoked").check()
    expect(row).to_contain_text("revoked")
    assert row.get_by_role("button").count() == 0


def test_a_key_that_is_saved_as_it_was_stays_so(busy: Gateway, watched: Watched, page: Page) -> None:
    new_app(busy, "unchanged", models=["claude-haiku-*"], expires_at="2099-01-02T03:04:05Z")
    open_view(page, "keys")
    page.get_by_role("button", name="Edit unchanged").click()
    page.get_by_role("button", name="Save").click()

    expect(page.locator("#key-dialog")).to_be_hidden()
    assert not [method for method, _ in watched.requests if method == "PATCH"]


def test_a_refused_key_says_why(busy: Gateway, watched: Watched) -> None:
    page = sign_in(watched, busy)
    open_view(page, "keys")
    page.get_by_role("button", name="New key").click()
    page.get_by_label("Name", exact=True).fill("study")
    page.get_by_role("button", name="Create key").click()

    expect(page.locator("#key-error")).to_contain_text("study")
    page.keyboard.press("Escape")
    expect(page.locator("#key-dialog")).to_be_hidden()
    expect(page.get_by_role("button", name="New key")).to_be_focused()
    assert len(watched.complaints) == 1
    assert "409" in watched.complaints[0]


def test_a_gateway_that_is_gone_is_told_of_among_the_keys(busy: Gateway, watched: Watched) -> None:
    page = sign_in(watched, busy)
    page.route("**/api/v1/keys?*", lambda route: route.abort())

    page.get_by_role("link", name="Keys").click()

    expect(page.locator("#toast")).to_have_text("The gateway cannot be reached.")


def test_a_key_without_rights_sees_itself(busy: Gateway, watched: Watched) -> None:
    _, key = new_app(busy, "guest", scopes=["messages"], budget={"usd_per_day": 3})
    page = sign_in(watched, busy, key)
    expect(page.get_by_label("Model id")).to_be_visible()
    expect(page.locator("#settings")).to_contain_text("This key may not list models: write the id of one.")
    assert '"model": "MODEL_ID"' in page.locator("#code").inner_text()
    open_view(page, "keys")

    expect(page.get_by_role("heading", name="This key")).to_be_visible()
    expect(page.locator("#key-table tbody tr")).to_have_count(1)
    expect(page.locator("#key-table")).to_contain_text("$3.00 a day")
    assert page.locator("#keys").get_by_role("button").count() == 0
    open_view(page, "usage")
    expect(page.get_by_role("meter", name="guest, today")).to_be_visible()
    assert all("403" in complaint for complaint in watched.complaints)
    assert [path for _, path in watched.requests if "/api/v1/keys?" in path] == []
