"""Each native operation once: what upstream and the caller got is the same as without the gateway."""

import re

import pytest

import openapi
from gateway.catalog import Catalog, Operation
from tests.conftest import Relay
from tests.support.client import Headers
from tests.support.gateway import UPSTREAM_ADMIN_KEY, UPSTREAM_KEY
from tests.support.recorder import answer, head

OPERATIONS = [operation for operation in Catalog({"native": openapi.load("native")}) if operation.sdk]
QUERY = "?beta=true&ids[]=b&ids%5B%5D=a&created_at[gte]=1&novel=%2F+x&beta=false"
JSON_BODY = b'{ "model":"m","max_tokens":5, "messages":[],"requests" : [ ],"\\u00e9": 1.10 }'
FORM_BODY = (
    b'--b\r\nContent-Disposition: form-data; name="files[]"; filename="a/b"\r\n\r\n\x00\xff\r\n--b--\r\n'
)
ANSWER = b' {"data": [{"type":"novel","n":1.10}], "\\u00e9":null}\n'
KEPT: Headers = [("request-id", "req_u"), ("anthropic-organization-id", "org"), ("x-should-retry", "false")]


def test_all_of_them_are_here() -> None:
    assert len(OPERATIONS) == 271


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_relayed_as_it_is(relay: Relay, operation: Operation) -> None:
    target = re.sub(r"\{\w+\}", "a%2Fb%20c", operation.path) + QUERY
    body, headers = _body(operation)
    kind = operation.response_types[0] if operation.response_types else "application/json"
    relay.upstream.script(
        [head(200, [("content-type", kind), *KEPT, ("content-length", str(len(ANSWER)))]) + ANSWER]
    )

    got = relay.gateway.call(operation.method, target, body, [*headers, ("anthropic-beta", "novel-1")])

    sent = relay.upstream.only
    assert (sent.method, sent.target, sent.body) == (operation.method, target, body or b"")
    assert [(name, sent.header(name)) for name, _ in headers] == list(headers)
    assert sent.header("anthropic-beta") == "novel-1"
    admin = operation.path.startswith("/v1/organizations/")
    assert sent.header("authorization") == f"Bearer {UPSTREAM_ADMIN_KEY if admin else UPSTREAM_KEY}"
    assert (got.status, got.body, got.header("content-type")) == (200, ANSWER, kind)
    assert [(name, value) for name, value in got.headers if name in dict(KEPT)] == KEPT
    line = relay.gateway.request_line(got.header("x-request-id"))
    assert line["operation"] == operation.id


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_errors_come_back_as_they_are(relay: Relay, operation: Operation) -> None:
    target = re.sub(r"\{\w+\}", "x", operation.path)
    body, headers = _body(operation)
    error = b'{"type":"error", "error":{"type":"novel_error","message":"no"} }'
    relay.upstream.script(answer(418, error, headers=KEPT))

    got = relay.gateway.call(operation.method, target, body, headers)

    assert (got.status, got.body) == (418, error)
    assert got.header("request-id") == "req_u"


def _body(operation: Operation) -> tuple[bytes | None, Headers]:
    """A body and its headers, as the SDK sends them."""
    if "multipart/form-data" in operation.request_types:
        return FORM_BODY, [("content-type", "multipart/form-data; boundary=b")]
    if operation.request_types:
        return JSON_BODY, [("content-type", "application/json")]
    return None, []


UNLISTED = "/v1/novelties/a%2Fb/deep?x[]=1&x[]=%20"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_paths_that_the_spec_lacks(relay: Relay, method: str) -> None:
    """Relayed for admins: the key of a newer SDK's user should not have to wait for a release of ours."""
    relay.upstream.script(answer(201, ANSWER, headers=KEPT))
    before = relay.gateway.metric("anthropic_gateway_unlisted_requests_total")
    body = None if method == "GET" else b"any \x00 bytes"
    headers = [] if body is None else [("content-type", "application/x-novel")]

    got = relay.gateway.call(method, UNLISTED, body, headers)

    sent = relay.upstream.only
    assert (sent.method, sent.target, sent.body) == (method, UNLISTED, body or b"")
    assert (got.status, got.body, got.header("request-id")) == (201, ANSWER, "req_u")
    assert relay.gateway.metric("anthropic_gateway_unlisted_requests_total") == before + 1


def test_paths_that_the_spec_lacks_for_others(relay: Relay) -> None:
    got = relay.kitchen.call("GET", UNLISTED)

    assert got.status == 404
    assert got.json()["error"] == {"type": "not_found_error", "message": "there is nothing at this path"}
    assert relay.upstream.requests == []


@pytest.mark.parametrize("path", ["/v1/organizations/novel", "/v1/files/../organizations/users"])
def test_no_way_around_the_scope(relay: Relay, path: str) -> None:
    assert relay.kitchen.call("GET", path).status in (400, 404)
    assert relay.upstream.requests == []
