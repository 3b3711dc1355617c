"""A page of another origin streams a message: by fetch, and by two libraries that POST an EventSource.

The programs are those of docs/streaming.md.
"""

import functools
import http.client
import http.server
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sandbox import serve_in_thread
from tests.browser.conftest import Watched
from tests.support import gateway as gateways
from tests.support import installed
from tests.support.gateway import ADMIN_KEY, ROOT, UPSTREAM_KEY, Gateway

pytestmark = pytest.mark.browser

HANDLE, FETCH, EXTENDED_EVENTSOURCE, SSE_JS = re.findall(
    r"^```js\n(.*?)^```", (ROOT / "docs" / "streaming.md").read_text(), re.MULTILINE | re.DOTALL
)
BODY = re.compile(r"JSON\.stringify\(\{.*?\n  \}\)", re.DOTALL)

REQUEST: dict[str, Any] = {
    "model": "claude-sonnet-4-20250514",
    "messages": [{"role": "user", "content": "What's the weather?"}],
    "max_tokens": 1024,
    "temperature": 0.7,
    "system": "You are a helpful assistant.",
    "tools": [
        {
            "name": "get_weather",
            "description": "Get weather information",
            "input_schema": {"type": "object", "properties": {"location": {"type": "string"}}},
        }
    ],
    "tool_choice": "auto",
}
REQUESTS = {
    "with tools": REQUEST,
    "without max_tokens": {name: value for name, value in REQUEST.items() if name != "max_tokens"},
}

RECONNECTING = re.compile(r"((Fatal e|E)rror occurred in|Reconnecting because) EventSource")
"""What extended-eventsource writes to the console when a stream ends, and when it is told to stop."""

COLLECT = """
const events = [];
function handle(event) {
  events.push(event);
  shown(event);
}
"""
"""Stands around the page's own `handle`, which is called `shown` then."""


@dataclass(frozen=True)
class House:
    """The application's origin, and the gateway with the upstream behind it."""

    origin: str
    gateway: Gateway
    upstream: str

    def upstream_calls(self) -> list[dict[str, Any]]:
        """What upstream was asked for since the last `forget`."""
        calls: list[dict[str, Any]] = self._upstream("GET")["requests"]
        return calls

    def forget(self) -> None:
        self._upstream("DELETE")

    def _upstream(self, method: str) -> Any:
        connection = http.client.HTTPConnection(urlsplit(self.upstream).netloc, timeout=10)
        connection.request(method, "/_sandbox/requests")
        answer = connection.getresponse().read()
        connection.close()
        return json.loads(answer)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing: what the page asked for is seen in the page."""


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """Where the application's page and its libraries are served."""
    folder = installed.node_folder(Path(__file__).parent / "site")
    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def _house(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with serve_in_thread() as upstream:
        settings = {
            "ANTHROPIC_API_KEY": UPSTREAM_KEY,
            "ANTHROPIC_BASE_URL": upstream,
            "CORS_ORIGINS": origin,
        }
        with gateways.running(tmp_path_factory.mktemp("house"), settings) as gateway:
            yield House(origin, gateway, upstream)


@pytest.fixture
def house(_house: House) -> House:
    _house.forget()
    return _house


def start(house: House, watched: Watched, program: str, request: dict[str, Any]) -> None:
    """Open the application and run a program of the documentation in it."""
    program = program.replace("http://127.0.0.1:8000", house.gateway.url).replace("sk-gw-your-key", ADMIN_KEY)
    program, replaced = BODY.subn(lambda _: f"JSON.stringify({json.dumps(request)})", program)
    assert replaced == 1
    watched.page.goto(f"{house.origin}/index.html")
    watched.page.add_script_tag(content=HANDLE.replace("function handle", "function shown"))
    watched.page.add_script_tag(content=COLLECT)
    # The source is shared so that tests can look at it.
    program = program.replace("const source =", "const source = window.source =")
    watched.page.add_script_tag(content=program, type="module")


def finish(watched: Watched) -> list[dict[str, Any]]:
    """Wait for the stream's last event; all events."""
    watched.page.wait_for_function("events.some((event) => event.type === 'message_stop')")
    events: list[dict[str, Any]] = watched.page.evaluate("events")
    return events


def posts(house: House, watched: Watched) -> int:
    stream = ("POST", f"{house.gateway.url}/api/v1/messages/stream")
    return sum(request == stream for request in watched.requests)


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize(
    "program", [FETCH, EXTENDED_EVENTSOURCE, SSE_JS], ids=["fetch", "extended-eventsource", "sse.js"]
)
def test_every_event_arrives(house: House, watched: Watched, program: str, request_name: str) -> None:
    start(house, watched, program, REQUESTS[request_name])
    events = finish(watched)

    message = events[-1]["message"]
    text = "".join(block["text"] for block in message["content"] if block["type"] == "text")
    assert text
    assert "".join(event["text"] for event in events if event["type"] == "text") == text
    assert watched.page.inner_text("body") == text
    assert [block["name"] for block in message["content"] if block["type"] == "tool_use"] == ["get_weather"]
    assert [event["type"] for event in events if event["type"] != "ping"] == expected_types(message)
    assert [said for said in watched.complaints if not RECONNECTING.match(said)] == []


def expected_types(message: dict[str, Any]) -> list[str]:
    """The types of the events of the sandbox's answer: one delta for its text, three for its tool's input."""
    text, tool_use = message["content"]
    assert (text["type"], tool_use["type"]) == ("text", "tool_use")
    return [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "text",
        "content_block_stop",
        "content_block_start",
        *["content_block_delta"] * 3,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_a_library_that_reconnects_is_not_billed_again(house: House, watched: Watched) -> None:
    start(house, watched, EXTENDED_EVENTSOURCE, REQUEST)
    count = len(finish(watched))
    watched.page.wait_for_function("source.readyState === source.CLOSED")

    assert posts(house, watched) == 2, "it asked again, and then no more"
    assert watched.page.evaluate("events.length") == count
    assert [call["status"] for call in house.upstream_calls()] == [200]


def test_a_library_that_never_stops_asking_is_not_billed_again(house: House, watched: Watched) -> None:
    persistent = SSE_JS.replace("payload:", "autoReconnect: true, reconnectDelay: 50, payload:")
    assert persistent != SSE_JS
    start(house, watched, persistent, REQUEST)
    count = len(finish(watched))
    while posts(house, watched) < 5:
        watched.page.wait_for_timeout(50)
    watched.page.evaluate("source.close()")

    assert watched.page.evaluate("events.length") == count
    assert [call["status"] for call in house.upstream_calls()] == [200]


def test_an_origin_that_is_not_named_is_kept_out(house: House, watched: Watched) -> None:
    watched.page.goto(house.origin.replace("127.0.0.1", "localhost") + "/index.html")

    failure = watched.page.evaluate(
        "url => fetch(url, {method: 'POST', headers: {'x-api-key': 'k'}}).catch(error => error.name)",
        f"{house.gateway.url}/api/v1/messages/stream",
    )

    assert failure == "TypeError"
    assert house.upstream_calls() == []
