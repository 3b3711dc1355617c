"""How a test uses the console."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import Watched
from tests.support.client import Client
from tests.support.gateway import ADMIN_KEY, Gateway

VIEWS = ("playground", "requests", "usage", "keys")
LOADED = {"requests": "#calls tbody tr, #calls-empty", "usage": "#budgets *", "keys": "#key-table tbody tr"}
"""What is there when a view has its data."""


def sign_in(watched: Watched, gateway: Gateway, key: str = ADMIN_KEY) -> Page:
    """Open the console and sign in."""
    page = watched.page
    page.goto(f"{gateway.url}/")
    page.get_by_label("Gateway key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#console")).to_be_visible()
    expect(page.locator("#model option").first).to_be_attached()
    return page


def open_view(page: Page, name: str) -> None:
    """Go to a part of the console by its link, and wait until it shows what it has."""
    page.get_by_role("navigation").get_by_role("link", name=name.capitalize()).click()
    expect(page.locator(f"#{name}")).to_be_visible()
    if name in LOADED:
        expect(page.locator(LOADED[name]).first).to_be_attached()


def ask(page: Page, text: str) -> None:
    """Send a message in the playground and wait for what it cost."""
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".turn.assistant").last.locator(".facts")).to_contain_text("$")


def new_app(gateway: Gateway, name: str, **fields: object) -> tuple[Client, str]:
    """A new key: a client with it, and the secret."""
    made = gateway.call("POST", "/api/v1/keys", {"name": name, **fields})
    assert made.status == 201, made.body
    secret: str = made.json()["data"]["key"]
    return Client(gateway.url, secret), secret


def last_call(gateway: Gateway) -> dict[str, object]:
    """The newest row of the ledger."""
    call: dict[str, object] = gateway.call("GET", "/api/v1/usage/calls?limit=1").json()["data"]["calls"][0]
    return call


def assert_quiet(gateway: Gateway, watched: Watched, complaints: list[str] | None = None) -> None:
    """The page asked no other host, broke no rule of its policy, and told the key nobody."""
    assert [url for _, url in watched.requests if not url.startswith(f"{gateway.url}/")] == []
    assert [url for _, url in watched.requests if ADMIN_KEY in url] == []
    assert watched.complaints == (complaints or [])
    assert ADMIN_KEY not in watched.page.content()
    assert ADMIN_KEY not in watched.page.url
    assert watched.page.evaluate("[document.cookie, localStorage.length]") == ["", 0]
