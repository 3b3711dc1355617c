"""Each operation of both specs, asked in each way of having no right to it: refused, and nothing goes up.

Made from the specs, so that a new operation is held to this on the day it is written. What belongs to another
key is in test_walls_operations.py, which is made from them too; here stands that it leaves none out.
"""

import asyncio
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

import openapi
from gateway.catalog import Catalog, Operation
from gateway.keys import ADMIN_SCOPE, KeyRing
from gateway.keys.key import ANY_SCOPE, SCOPES
from gateway.store import Store
from tests.support import gateway as gateways
from tests.support.client import Answer, Client, Headers
from tests.support.gateway import ADMIN_KEY, UPSTREAM_KEY, Gateway
from tests.support.keys import new_key
from tests.support.recorder import Recorder

CATALOG = Catalog({"native": openapi.load("native"), "envelope": openapi.load("envelope")})
OPEN = {
    "get_health",
    "get_liveness",
    "get_readiness",
    "get_docs",
    "get_docs_asset",
    "get_envelope_spec",
    "get_native_spec",
    "get_console",
    "get_console_asset",
}
"""All that needs no key: a new one has to be entered here."""

FOR_EVERY_KEY = {"get_usage", "get_own_key", "list_calls", "get_content", "delete_content"}
"""All that a key may do whatever its scopes are, each about that key alone."""

KEYED = [operation for operation in CATALOG if operation.scope is not None]
SCOPED = [operation for operation in KEYED if operation.scope != ANY_SCOPE]
METRICS_KEY = "a-key-that-opens-the-metrics-alone"


class Callers(NamedTuple):
    gateway: Gateway
    upstream: Recorder
    unknown: dict[str, str]
    """Secrets that open nothing (but METRICS_KEY its one operation), by what is wrong with them."""
    lacking: dict[str, Client]
    """By scope a key that has all others but the administrators'."""


@pytest.fixture(scope="module")
def _callers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callers]:
    settings = {
        "ANTHROPIC_API_KEY": UPSTREAM_KEY,
        "ANTHROPIC_ADMIN_KEY": gateways.UPSTREAM_ADMIN_KEY,
        "METRICS_KEY": METRICS_KEY,
        "TRUSTED_PROXIES": "127.0.0.1",
    }
    with Recorder() as upstream:
        settings["ANTHROPIC_BASE_URL"] = upstream.url
        with gateways.running(
            tmp_path_factory.mktemp("authorisation"), settings, gateways.UNASKED
        ) as gateway:
            revoked_id, revoked = new_key(gateway, "revoked", scopes=SCOPES)
            assert revoked.call("GET", "/v1/models").status == 200
            assert gateway.call("DELETE", f"/api/v1/keys/{revoked_id}").status == 200
            unknown = {
                "none": "",
                "unknown": "sk-gw-" + "x" * 43,
                "revoked": str(revoked.key),
                "expired": expired_key(gateway),
                "Anthropic's": UPSTREAM_KEY,
                "half": ADMIN_KEY[:-1],
                "metrics": METRICS_KEY,
            }
            others = [scope for scope in SCOPES if scope != ADMIN_SCOPE]
            lacking = {
                scope: new_key(gateway, f"all but {scope}", scopes=[one for one in others if one != scope])[1]
                for scope in SCOPES
            }
            yield Callers(gateway, upstream, unknown, lacking)


@pytest.fixture
def callers(_callers: Callers) -> Callers:
    _callers.upstream.reset()
    return _callers


def expired_key(gateway: Gateway) -> str:
    """A key whose time is over, made as if in 1970."""
    store = Store(f"sqlite:///{gateway.data / 'gateway.db'}")
    try:
        ring = KeyRing(store, ADMIN_KEY, now=lambda: 0.0)
        fields = {"name": "expired", "scopes": SCOPES, "expires_at": "1970-01-01T00:00:01Z"}
        _, secret = asyncio.run(ring.create(fields))
    finally:
        store.close_now()

    def known() -> bool | None:
        got = gateway.call("GET", "/v1/models", headers=[("x-api-key", secret)], with_key=False)
        return (b"expired" in got.body) or None

    gateways.eventually(known, gateways.SOON)
    return secret


ADDRESSES = (f"2001:db8::{number:x}" for number in itertools.count(1))
"""Each call comes from another address: one that tries wrong keys one after another is slowed down."""


def ask(gateway: Gateway, operation: Operation, credential: Headers) -> Answer:
    """Call an operation with the credential alone: a refusal must not wait for the rest of the request."""
    path = re.sub(r"\{\w+\}", "x_1", operation.path)
    headers = [("x-forwarded-for", next(ADDRESSES)), *credential]
    return gateway.call(operation.method, path, headers=headers, with_key=False)


def check(operation: Operation, got: Answer, status: int, names: tuple[str, str]) -> None:
    """Whether an answer is the refusal that it has to be; `names` by dialect, native first."""
    assert got.status == status, (operation.id, got.body)
    value = got.json()
    if operation.dialect == "native":
        assert (value["type"], value["error"]["type"]) == ("error", names[0])
    else:
        assert (value["success"], value["metadata"]["error_type"]) == (False, names[1])
    assert got.header("x-request-id")


def by_id(operation: Operation) -> str:
    return operation.id


def test_what_is_open() -> None:
    """Nothing of it goes upstream, and the specs say the same of it."""
    unkeyed = [operation for operation in CATALOG if operation.scope is None]
    assert {operation.id for operation in unkeyed} <= OPEN
    assert not any(operation.goes_upstream or operation.metered for operation in unkeyed)
    assert all(operation.spec["security"] == [] for operation in unkeyed)
    assert not any(operation.spec.get("security") == [] for operation in KEYED)
    assert len(KEYED) > 300
    assert {operation.scope for operation in SCOPED} == set(SCOPES)
    assert {operation.id for operation in KEYED if operation.scope == ANY_SCOPE} <= FOR_EVERY_KEY


@pytest.mark.parametrize("operation", KEYED, ids=by_id)
def test_without_a_key_that_holds(callers: Callers, operation: Operation) -> None:
    for wrong, secret in callers.unknown.items():
        if wrong == "metrics" and operation.id == "get_metrics":
            continue
        for credential in (("x-api-key", secret), ("authorization", f"Bearer {secret}")):
            got = ask(callers.gateway, operation, [credential] if wrong != "none" else [])
            check(operation, got, 401, ("authentication_error", "AuthenticationError"))
            assert got.header("www-authenticate") == 'Bearer realm="anthropic-gateway"'
    assert callers.upstream.requests == []


@pytest.mark.parametrize("operation", SCOPED, ids=by_id)
def test_without_the_scope(callers: Callers, operation: Operation) -> None:
    key = callers.lacking[str(operation.scope)].key
    got = ask(callers.gateway, operation, [("x-api-key", str(key))])
    check(operation, got, 403, ("permission_error", "PermissionDeniedError"))
    assert f"the scope {operation.scope}" in got.body.decode()
    assert callers.upstream.requests == []


def test_paths_that_the_spec_lacks_need_the_scope_of_admins(callers: Callers) -> None:
    """To everyone else there is nothing at them, whatever upstream may have there."""
    key = str(callers.lacking[ADMIN_SCOPE].key)
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        for path in ("/v1/novelties", "/v1/organizations/novelties", "/v1/messages/x/y/z"):
            got = callers.gateway.call(method, path, headers=[("x-api-key", key)], with_key=False)
            assert got.status == 404, (method, path)
    assert callers.upstream.requests == []


def test_a_key_is_taken_from_headers_alone(callers: Callers) -> None:
    """Addresses stand in logs and histories, and cookies are sent by whatever page the browser shows."""
    secret = str(callers.gateway.key)
    for query in ("x-api-key", "api_key", "key", "access_token"):
        assert callers.gateway.call("GET", f"/v1/models?{query}={secret}", with_key=False).status == 401
    for name in ("cookie", "x-goog-api-key", "api-key", "proxy-authorization"):
        value = f"x-api-key={secret}" if name == "cookie" else f"Bearer {secret}"
        got = callers.gateway.call("GET", "/v1/models", headers=[(name, value)], with_key=False)
        assert got.status == 401
        assert got.header("set-cookie") is None


def test_two_credentials_are_not_tried_one_after_the_other(callers: Callers) -> None:
    """`x-api-key` counts when both come: a good bearer token behind it is not looked at."""
    secret = str(callers.gateway.key)
    headers = [("x-api-key", "sk-gw-wrong"), ("authorization", f"Bearer {secret}")]
    assert callers.gateway.call("GET", "/v1/models", headers=headers, with_key=False).status == 401


WITHOUT_OWNER = {
    "organization": "the workspace's own, of which no key makes any; only keys with that scope see it",
    ADMIN_SCOPE: "the administrators' own",
    "models": "Anthropic's own, which everyone sees",
}
"""Scopes of operations with an id in their path that belongs to no key, and why."""

WALLS_OF_THEIR_OWN = ("/api/v1/messages/async/{",)
"""Paths of what the gateway itself keeps for a key; each has a test of its own that no other key sees it."""


def test_each_id_in_a_path_has_an_owner_or_a_reason() -> None:
    """What `test_walls_operations.py` goes through is all there is."""
    for operation in KEYED:
        own = operation.path.startswith(WALLS_OF_THEIR_OWN)
        if "{" in operation.path and operation.subject.item is None and not own:
            assert operation.scope in WITHOUT_OWNER, f"whose is the id of {operation.id}?"
