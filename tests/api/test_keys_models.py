"""A key's models hold wherever a request names one, in both dialects, and nothing refused goes upstream."""

from typing import Any

import pytest

from tests.conftest import Relay
from tests.support.client import Client
from tests.support.gateway import Gateway

MAY = "claude-sonnet-4-20250514"
MAY_NOT = "claude-opus-4-20250514"


def message(model: str, **more: Any) -> dict[str, Any]:
    return {
        "model": model,
        "max_tokens": 16,
        "messages": [{"role": "user", "content": "claude-opus"}],
        **more,
    }


def counted(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}]}


def batch(model: str) -> dict[str, Any]:
    params = (message(MAY), message(model))
    return {"requests": [{"custom_id": f"c{n}", "params": item} for n, item in enumerate(params)]}


PLACES = [
    ("/v1/messages", message),
    ("/v1/messages", lambda model: message(model, stream=True)),
    ("/v1/messages/count_tokens", counted),
    ("/v1/messages/batches", batch),
    ("/api/v1/messages/create", message),
    ("/api/v1/messages/stream", message),
    ("/api/v1/messages/count-tokens", counted),
    ("/api/v1/batches/create", batch),
]


@pytest.fixture(scope="module")
def app(sandboxed: Gateway) -> Client:
    """A key for the sonnets alone."""
    fields = {"name": "sonnets", "models": ["claude-sonnet-*"], "scopes": ["messages", "batches", "agents"]}
    return Client(sandboxed.url, sandboxed.call("POST", "/api/v1/keys", fields).json()["data"]["key"])


@pytest.mark.parametrize(("path", "body"), PLACES)
def test_an_allowed_model_passes(app: Client, path: str, body: Any) -> None:
    got = app.call("POST", path, body(MAY))

    assert got.status == 200, got.body


@pytest.mark.parametrize(("path", "body"), PLACES)
def test_another_model_is_refused_by_name(app: Client, path: str, body: Any) -> None:
    got = app.call("POST", path, body(MAY_NOT))

    assert got.status == 403
    refusal = f"key sonnets may not use the model {MAY_NOT}"
    if path.startswith("/v1/"):
        assert got.json()["error"] == {"type": "permission_error", "message": refusal}
    else:
        assert got.json()["error"] == refusal
        assert got.json()["metadata"]["error_type"] == "PermissionDeniedError"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages", message(MAY, fallbacks=[{"model": MAY_NOT}])),
        ("/v1/messages", message(MAY, fallbacks="default")),
        (
            "/v1/messages",
            message(MAY, tools=[{"type": "advisor_20260301", "name": "advisor", "model": MAY_NOT}]),
        ),
        ("/v1/agents?beta=true", {"name": "a", "model": MAY_NOT}),
        ("/v1/agents?beta=true", {"name": "a", "model": {"id": MAY_NOT, "speed": "standard"}}),
        (
            "/v1/sessions?beta=true",
            {"agent": {"type": "agent_with_overrides", "id": "a", "model": MAY_NOT}, "environment_id": "e"},
        ),
    ],
)
def test_a_model_in_another_place_is_found(app: Client, path: str, body: dict[str, Any]) -> None:
    got = app.call("POST", path, body)

    assert got.status == 403, got.body
    assert "may not use the model" in got.json()["error"]["message"]


def test_nothing_refused_goes_upstream(relay: Relay) -> None:
    fields = {"name": "no models", "models": [], "scopes": ["messages", "batches"]}
    issued = relay.gateway.call("POST", "/api/v1/keys", fields).json()["data"]
    app = Client(relay.gateway.url, issued["key"])

    for path, body in PLACES:
        assert app.call("POST", path, body(MAY)).status == 403

    assert relay.upstream.requests == []
    relay.gateway.call("PATCH", f"/api/v1/keys/{issued['id']}", {"models": [MAY]})
    app.call("POST", "/v1/messages", message(MAY))
    assert len(relay.upstream.requests) == 1
