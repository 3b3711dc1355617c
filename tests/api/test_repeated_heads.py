"""Requests of one connection whose heads are the same: each is judged by what holds when it comes."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Relay
from tests.support import gateway as gateways
from tests.support.client import TIMEOUT, Client
from tests.support.gateway import UPSTREAM_KEY
from tests.support.keys import KEYS, new_key
from tests.support.recorder import Recorder

OFTEN = 5
"""Requests until a head is surely known."""


class Connection:
    """One connection, on which all requests of a kind have the same head."""

    def __init__(self, client: Client) -> None:
        self._connection = http.client.HTTPConnection(*client.address, timeout=TIMEOUT)
        self._headers = {"x-api-key": str(client.key), "content-type": "application/json"}
        self._sock: Any = None

    def ask(self, method: str, target: str, body: Any = None) -> tuple[int, Any]:
        """Send a request; its status and JSON. A connection that was closed meanwhile fails the test."""
        sent = None if body is None else json.dumps(body).encode()
        self._connection.request(method, target, sent, self._headers)
        assert self._sock in (None, self._connection.sock)
        self._sock = self._connection.sock
        response = self._connection.getresponse()
        return response.status, json.loads(response.read())

    def close(self) -> None:
        self._connection.close()


@contextmanager
def connected(client: Client) -> Iterator[Connection]:
    connection = Connection(client)
    try:
        yield connection
    finally:
        connection.close()


def message(text: str) -> dict[str, Any]:
    return {"model": "claude-haiku-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize("path", ["/v1/messages", "/api/v1/messages/create"])
def test_each_body_goes_up_with_the_same_headers(relay: Relay, path: str) -> None:
    texts = ["x" * length for length in (1, 40, 30_000, 200_000, 7)]
    with connected(relay.kitchen) as connection:
        for text in texts:
            assert connection.ask("POST", path, message(text))[0] == 200

    came = relay.upstream.requests
    assert [one.json()["messages"][0]["content"] for one in came] == texts
    heads = {tuple(field for field in one.headers if field[0] != "content-length") for one in came}
    assert len(heads) == 1
    assert all(one.header("content-length") == str(len(one.body)) for one in came)


@pytest.mark.parametrize("path", ["/api/v1/keys/self", "/v1/models", "/api/v1/models?limit=1"])
def test_a_key_that_is_revoked_opens_nothing_from_then_on(relay: Relay, path: str) -> None:
    key_id, app = new_key(relay.gateway, f"revoked on {path}", scopes=["models"])
    with connected(app) as connection:
        assert [connection.ask("GET", path)[0] for _ in range(OFTEN)] == [200] * OFTEN
        assert relay.gateway.call("DELETE", f"{KEYS}/{key_id}").status == 200
        assert connection.ask("GET", path)[0] == 401


def test_what_a_key_may_do_changes_with_the_next_request(relay: Relay) -> None:
    key_id, app = new_key(relay.gateway, "changing", scopes=["messages"])

    def change(**fields: Any) -> None:
        assert relay.gateway.call("PATCH", f"{KEYS}/{key_id}", fields).status == 200

    with connected(app) as connection:

        def ask() -> int:
            return connection.ask("POST", "/v1/messages", message("Hi"))[0]

        assert [ask() for _ in range(OFTEN)] == [200] * OFTEN
        change(scopes=["models"])
        assert ask() == 403
        change(scopes=["messages"], models=["claude-opus-*"])
        assert ask() == 403
        change(models=["*"])
        assert ask() == 200


def test_a_refused_head_is_refused_again(relay: Relay) -> None:
    with connected(relay.kitchen) as connection:
        for _ in range(OFTEN):
            assert connection.ask("GET", "/v1/files")[0] == 403
            assert connection.ask("GET", "/api/v1/nowhere")[0] == 404
            status, refused = connection.ask("GET", "/api/v1/usage?limit=x")
            assert (status, refused["error"]) == (400, "query parameter limit: unknown")
            status, refused = connection.ask("GET", "/%761/files")  # in the dialect that an escape hides
            assert (status, refused["type"]) == (403, "error")
    assert relay.upstream.requests == []


def test_each_traced_call_goes_up_with_a_span_of_its_own(tmp_path: Path) -> None:
    with Recorder() as upstream:
        settings = {
            "ANTHROPIC_API_KEY": UPSTREAM_KEY,
            "ANTHROPIC_BASE_URL": upstream.url,
            "OTEL_TRACES_EXPORTER": "console",
        }
        with gateways.running(tmp_path, settings) as gateway, connected(gateway) as connection:
            for _ in range(OFTEN):
                assert connection.ask("POST", "/v1/messages", message("Hi"))[0] == 200
        assert len({one.header("traceparent") for one in upstream.requests}) == OFTEN
