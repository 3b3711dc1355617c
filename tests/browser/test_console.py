"""The console's door and its playground, in a real browser."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.conftest import Watched
from tests.browser.console import VIEWS, ask, assert_quiet, last_call, new_app, open_view, sign_in
from tests.support import installed
from tests.support.gateway import ADMIN_KEY, Gateway, eventually

pytestmark = pytest.mark.browser

REFUSED = "Failed to load resource: the server responded with a status of 401 (Unauthorized)"
"""What Chromium itself writes to the console when a page is told 401."""


@pytest.fixture
def page(busy: Gateway, watched: Watched) -> Iterator[Page]:
    """The console, signed in as admin, where nothing may go amiss."""
    yield sign_in(watched, busy)
    assert_quiet(busy, watched)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("sk-gw-nobody-has-this-key", "The gateway does not know this key, or it has expired."),
        ("", "Enter a gateway key."),
        ("schlüssel", "That is no gateway key."),
    ],
)
def test_a_wrong_key_opens_nothing(busy: Gateway, watched: Watched, key: str, reason: str) -> None:
    page = watched.page
    page.goto(f"{busy.url}/")
    expect(page.get_by_label("Gateway key")).to_be_focused()

    page.get_by_label("Gateway key").fill(key)
    page.keyboard.press("Enter")

    expect(page.get_by_role("alert").first).to_have_text(reason)
    expect(page.locator("#console")).to_be_hidden()
    assert page.evaluate("sessionStorage.length") == 0
    assert_quiet(busy, watched, [REFUSED] * (key.isascii() and key != ""))


def test_the_key_outlives_a_reload_and_no_signing_out(page: Page) -> None:
    page.reload()
    expect(page.locator("#who")).to_have_text("admin")

    page.get_by_role("button", name="Sign out").click()

    expect(page.get_by_label("Gateway key")).to_be_focused()
    assert page.evaluate("sessionStorage.length") == 0
    page.reload()
    expect(page.locator("#console")).to_be_hidden()


def test_a_key_that_is_revoked_meanwhile_signs_out(busy: Gateway, watched: Watched) -> None:
    made = busy.call("POST", "/api/v1/keys", {"name": "short lived"}).json()["data"]
    page = sign_in(watched, busy, made["key"])

    busy.call("DELETE", f"/api/v1/keys/{made['id']}")
    page.get_by_role("link", name="Requests").click()

    expect(page.locator("#sign-in-error")).to_have_text("The key does not open the gateway any more.")
    assert page.evaluate("sessionStorage.length") == 0
    assert set(watched.complaints) == {REFUSED}


def test_a_view_has_an_address(busy: Gateway, page: Page) -> None:
    page.goto(f"{busy.url}/#usage")

    expect(page.get_by_role("heading", name="Usage")).to_be_visible()
    expect(page.get_by_role("link", name="Usage")).to_have_attribute("aria-current", "page")
    assert page.title() == "Usage \N{EN DASH} Anthropic Gateway"


def test_the_first_model_is_a_cheap_one_and_a_choice_is_kept(busy: Gateway, page: Page) -> None:
    model = page.get_by_label("Model", exact=True)
    assert "haiku" in model.input_value()

    model.select_option("claude-sonnet-4-20250514")
    page.reload()
    expect(model).to_have_value("claude-sonnet-4-20250514")

    model.select_option("Another model…")
    assert '"model": "MODEL_ID"' in page.locator("#code").inner_text()
    page.get_by_label("Model id").fill("sandbox-slow-stream")
    page.reload()
    expect(page.get_by_label("Model id")).to_have_value("sandbox-slow-stream")
    assert '"model": "sandbox-slow-stream"' in page.locator("#code").inner_text()

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Gateway key")).to_be_focused()
    assert page.evaluate("sessionStorage.length") == 0


def test_a_message_is_streamed_and_priced(busy: Gateway, page: Page) -> None:
    page.get_by_label("Model", exact=True).select_option("claude-sonnet-4-20250514")
    page.get_by_label("System prompt").fill("Be brief.")
    page.get_by_label("Max tokens").fill("200")
    page.get_by_label("Temperature").fill("0.5")
    page.get_by_label("Message", exact=True).fill("How are you?")
    page.keyboard.press("Enter")

    answer = page.locator(".turn.assistant")
    expect(answer.locator(".text")).to_contain_text("This is the sandbox")
    expect(answer.locator(".facts")).to_contain_text("$")
    call = last_call(busy)
    facts = answer.locator(".facts").inner_text()
    assert f"{call['input_tokens']} tokens in, {call['output_tokens']} out" in facts
    assert float(facts.split("$")[1].split()[0]) == pytest.approx(float(str(call["cost_usd"])), rel=0.05)
    expect(page.get_by_label("Message", exact=True)).to_be_focused()


def test_a_conversation_goes_on(page: Page) -> None:
    ask(page, "My name is Ada.")
    ask(page, "And yours?")

    expect(page.locator(".turn")).to_have_count(4)
    program = page.locator("#code").inner_text()
    assert [text in program for text in ("My name is Ada.", "This is the sandbox", "And yours?")] == [
        True
    ] * 3
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".turn")).to_have_count(0)
    assert "Ada" not in page.locator("#code").inner_text()


def test_what_is_said_never_becomes_markup(page: Page) -> None:
    said = "<img src=x onerror=alert(1)><b>bold</b>"

    ask(page, said)

    expect(page.locator(".turn.user .text")).to_have_text(said)
    expect(page.locator(".turn.assistant .text")).to_contain_text(said)
    assert page.locator(".turn b, .turn img").count() == 0


def test_a_stream_can_be_stopped(busy: Gateway, page: Page) -> None:
    page.get_by_label("Model", exact=True).select_option("Another model…")
    page.get_by_label("Model id").fill("sandbox-slow-stream")
    page.get_by_label("Message", exact=True).fill("Write 300 words.")
    page.get_by_role("button", name="Send").click()
    answer = page.locator(".turn.assistant")
    expect(answer.locator(".text")).not_to_be_empty()
    expect(page.get_by_role("log")).to_have_attribute("aria-busy", "true")

    page.get_by_role("button", name="Stop").click()

    expect(answer.locator(".facts")).to_contain_text("stopped")
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    expect(page.get_by_role("log")).to_have_attribute("aria-busy", "false")

    def ended() -> bool | None:
        call = last_call(busy)
        return (call["status"], call["http_status"]) == ("canceled", 499) or None

    assert eventually(ended, 20.0)


def test_what_fails_is_said_and_can_be_sent_again(busy: Gateway, watched: Watched) -> None:
    page = sign_in(watched, busy)
    page.get_by_label("Model", exact=True).select_option("Another model…")
    page.get_by_label("Model id").fill("sandbox-413")
    page.get_by_label("Message", exact=True).fill("Too much?")
    page.get_by_role("button", name="Send").click()

    expect(page.locator(".turn.assistant .error")).not_to_be_empty()
    expect(page.get_by_label("Message", exact=True)).to_have_value("Too much?")
    assert len(watched.complaints) == 1
    assert "413" in watched.complaints[0]


def test_a_key_sees_the_models_that_it_may_use(busy: Gateway, watched: Watched) -> None:
    _, key = new_app(busy, "only haiku", models=["claude-haiku-*"])
    page = sign_in(watched, busy, key)

    options = page.locator("#model option").evaluate_all("options => options.map(option => option.value)")

    assert len(options) > 1
    assert all(value.startswith("claude-haiku-") for value in options[:-1])
    assert options[-1] == ""


@pytest.mark.parametrize("language", ["curl", "Python", "TypeScript"])
def test_the_programs_run(busy: Gateway, page: Page, tmp_path: Path, language: str) -> None:
    page.get_by_label("System prompt").fill('say "hi":')
    page.get_by_label("Message", exact=True).fill('It\'s "quoted", 100 % $HOME `here` \\ and in two\nlines')
    page.get_by_role("tab", name=language).click()
    for temperature in ("", "0.5"):
        page.get_by_label("Temperature").fill(temperature)
        program = page.locator("#code").inner_text()

        output = run_program(language, program, tmp_path)

        assert ADMIN_KEY not in program
        assert ("0.5" in program) == bool(temperature)
        assert "100 % $HOME `here`" in output
        assert last_call(busy)["status"] == "done"


def run_program(language: str, program: str, folder: Path) -> str:
    """What a program of the playground prints."""
    command = ["bash", "-c", program]
    if language == "Python":
        command = [sys.executable, "-c", program]
    if language == "TypeScript":  # it says nothing that JavaScript does not know
        folder = installed.node_folder(Path(__file__).parents[1] / "support" / "typescript_sdk")
        command = ["node", "--input-type=module", "--eval", program]
    environment = {"PATH": os.environ["PATH"], "GATEWAY_KEY": ADMIN_KEY}
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    if language == "curl":
        return "".join(re.findall(r'"type":"text","text":"(.*?)"}\n', ended.stdout))
    return ended.stdout


def test_a_program_can_be_copied_without_the_browsers_clipboard(page: Page) -> None:
    """Over plain HTTP in a LAN browsers offer none."""
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.evaluate(
        "document.addEventListener('copy', () => { window.copied = getSelection().toString() "
        "|| document.activeElement.value })"
    )

    page.locator("#copy-code").click()

    expect(page.locator("#copy-code")).to_have_text("Copied")
    assert page.evaluate("window.copied") == page.locator("#code").inner_text()
    expect(page.locator("#copy-code")).to_be_focused()


def test_the_log_never_holds_a_key(busy: Gateway, watched: Watched) -> None:
    page = sign_in(watched, busy)
    for view in VIEWS:
        open_view(page, view)
    page.get_by_role("button", name="New key").click()
    page.get_by_label("Name", exact=True).fill("canary")
    page.get_by_role("button", name="Create key").click()
    expect(page.locator("#secret")).to_contain_text("sk-gw-")
    secret = page.locator("#secret").inner_text()

    log = busy.output.read_text()

    assert "create_key" in log
    assert ADMIN_KEY not in log
    assert secret not in log


def test_it_works_behind_a_path_prefix(chromium: Browser, busy: Gateway) -> None:
    """Addresses are relative: a proxy may serve the gateway below a path."""
    context = chromium.new_context()
    page = context.new_page()
    prefix = "http://proxy.example/claude"
    asked: list[str] = []

    def pass_on(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(response=route.fetch(url=route.request.url.replace(prefix, busy.url)))

    page.route(f"{prefix}/**", pass_on)
    page.goto(f"{prefix}/")
    page.get_by_label("Gateway key").fill(ADMIN_KEY)
    page.keyboard.press("Enter")

    expect(page.locator("#who")).to_have_text("admin")
    expect(page.locator("#code")).to_contain_text(f"{prefix}/api/v1/messages/stream")
    assert all(url.startswith(f"{prefix}/") for url in asked)
    page.unroute_all(behavior="ignoreErrors")  # the page goes on asking while it is closed
    context.close()
