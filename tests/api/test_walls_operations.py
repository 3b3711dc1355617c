"""Each operation of both specs that names a resource in its path, query or header, by another key: 404."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

import openapi
from gateway.catalog import Catalog, Operation
from gateway.resources import Owned
from tests.support import gateway as gateways
from tests.support.client import Answer, Body, Headers
from tests.support.gateway import Gateway
from tests.support.recorder import Recorder
from tests.support.walls import BOUNDARY, MESSAGE, App, form, give, is_missing, make_app

CATALOG = Catalog({"native": openapi.load("native"), "envelope": openapi.load("envelope")})
NAMING = [operation for operation in CATALOG if operation.subject.item]
FILTERS = {
    "agent_id": "agents",
    "deployment_id": "deployments",
    "memory_store_id": "memory_stores",
    "session_id": "sessions",
    "scope_id": "sessions",
}
FILTERED = [
    (operation, parameter["name"])
    for operation in CATALOG
    for parameter in operation.parameters
    if parameter["in"] == "query" and parameter["name"] in FILTERS and operation.subject.kind
]


class Tenants(NamedTuple):
    gateway: Gateway
    upstream: Recorder
    one: App
    two: App


def own_id(owner: str, kind: str) -> str:
    return f"skill_{owner}" if kind == "skills" else f"{kind}_{owner}"


@pytest.fixture(scope="module")
def _tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenants]:
    with Recorder() as upstream:
        settings = {"ANTHROPIC_API_KEY": "sk-ant-x", "ANTHROPIC_BASE_URL": upstream.url}
        with gateways.running(tmp_path_factory.mktemp("walls"), settings, gateways.UNASKED) as gateway:
            tenants = Tenants(gateway, upstream, make_app(gateway, "one"), make_app(gateway, "two"))
            kinds = {operation.subject.kind for operation in CATALOG} - {None}
            for name, app in (("one", tenants.one), ("two", tenants.two)):
                give(gateway.data, app.id, *(Owned(str(kind), own_id(name, str(kind))) for kind in kinds))
            yield tenants


@pytest.fixture
def tenants(_tenants: Tenants) -> Tenants:
    _tenants.upstream.reset()
    return _tenants


def call(app: App, operation: Operation, owner: str, query: str = "", *, encoded: bool = False) -> Answer:
    """Call an operation with the id of one of `owner`'s resources."""
    kind = operation.subject.kind
    assert kind is not None
    name = own_id(owner, kind)
    if encoded:
        name = "".join(f"%{ord(letter):02x}" for letter in name)
    path = re.sub(r"\{\w+\}", name, operation.path, count=1)
    path = re.sub(r"\{\w+\}", "sub_1", path)
    body, headers = body_of(operation)
    return app.call(operation.method, path + query, body, headers)


def body_of(operation: Operation) -> tuple[Body, Headers]:
    if "multipart/form-data" in operation.request_types:
        return form("files[]", "a/SKILL.md", b"x"), BOUNDARY
    return ({} if operation.request_types else None), []


def test_all_of_them_are_here() -> None:
    assert len(NAMING) > 90
    assert {operation.dialect for operation in NAMING} == {"native", "envelope"}
    assert len(FILTERED) >= 7


@pytest.mark.parametrize("operation", NAMING, ids=lambda operation: operation.id)
def test_what_another_key_owns_is_not_found(tenants: Tenants, operation: Operation) -> None:
    for encoded in (False, True):
        assert is_missing(call(tenants.one, operation, "two", encoded=encoded))
    assert is_missing(call(tenants.two, operation, "nobody"))
    assert tenants.upstream.requests == []


@pytest.mark.parametrize("operation", NAMING, ids=lambda operation: operation.id)
def test_what_one_owns_is_there(tenants: Tenants, operation: Operation) -> None:
    owner = make_owner(tenants, operation)
    got = call(owner, operation, "own")
    assert got.status == 200, got.body
    assert own_id("own", str(operation.subject.kind)) in tenants.upstream.requests[-1].target


def make_owner(tenants: Tenants, operation: Operation) -> App:
    """The second app, with a resource that the operation may delete."""
    kind = str(operation.subject.kind)
    give(tenants.gateway.data, tenants.two.id, Owned(kind, own_id("own", kind)))
    return tenants.two


@pytest.mark.parametrize("operation", NAMING, ids=lambda operation: operation.id)
def test_an_admin_passes_everywhere(tenants: Tenants, operation: Operation) -> None:
    path = re.sub(r"\{\w+\}", "x_1", operation.path)
    assert tenants.gateway.call(operation.method, path, *body_of(operation)).status == 200
    assert len(tenants.upstream.requests) == 1


@pytest.mark.parametrize("operation", NAMING, ids=lambda operation: operation.id)
def test_a_foreign_id_is_no_oracle(tenants: Tenants, operation: Operation) -> None:
    """What is another's and what is nobody's are refused in the same words."""
    foreign, unknown = (call(tenants.one, operation, owner) for owner in ("two", "nobody"))
    assert re.sub(rb"req_\w+|_two", b"", foreign.body) == re.sub(rb"req_\w+|_nobody", b"", unknown.body)
    assert [name for name, _ in foreign.headers] == [name for name, _ in unknown.headers]


@pytest.mark.parametrize(("operation", "name"), FILTERED, ids=lambda value: getattr(value, "id", value))
def test_filters_by_what_another_key_owns(tenants: Tenants, operation: Operation, name: str) -> None:
    theirs = own_id("two", FILTERS[name])
    for query in (f"?{name}={theirs}", f"?limit=5&{name.replace('_', '%5F')}={theirs}"):
        assert is_missing(call(tenants.one, operation, "one", query))
    assert tenants.upstream.requests == []
    tenants.upstream.script(*[[b'HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{"data":[]}']])
    assert call(tenants.one, operation, "one", f"?{name}={own_id('one', FILTERS[name])}").status == 200


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/files/files_one"])
def test_the_profile_of_another_keys_user(tenants: Tenants, path: str) -> None:
    body: Body = MESSAGE if "messages" in path else None
    method = "GET" if body is None else "POST"
    header = "anthropic-user-profile-id"
    mine, theirs = (header, "user_profiles_one"), (header, "user_profiles_two")
    for lines in (
        [theirs],
        [mine, theirs],
        [theirs, mine],
        [(header, "user_profiles_one, user_profiles_two")],
    ):
        assert is_missing(tenants.one.call(method, path, body, lines))
    assert tenants.upstream.requests == []
    assert tenants.one.call(method, path, body, [mine]).status == 200
    assert tenants.upstream.only.header(header) == "user_profiles_one"


def test_a_refusal_is_audited_and_counted(tenants: Tenants) -> None:
    refusals = "anthropic_gateway_rejections_total"
    before = tenants.gateway.metrics(refusals, reason="not_found")
    tenants.one.call("GET", "/v1/files/files_two")
    assert tenants.gateway.metrics(refusals, reason="not_found") == before + 1
