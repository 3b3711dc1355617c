"""The agents' resources, which one handler forwards: who makes one owns it, and what it brings forth."""

import itertools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest

import openapi
from gateway.catalog import Catalog
from tests.support import gateway as gateways
from tests.support.gateway import Gateway
from tests.support.recorder import Received, Recorder, Step, answer
from tests.support.walls import App, is_missing, made, make_app

CATALOG = Catalog({"native": openapi.load("native")})
COLLECTIONS = sorted(
    operation.path for operation in CATALOG if operation.scope == "agents" and operation.subject.makes
)
DELETABLE = sorted(
    operation.path.rpartition("/")[0]
    for operation in CATALOG
    if operation.scope == "agents" and operation.subject.deletes
)


class Tenants(NamedTuple):
    gateway: Gateway
    upstream: Recorder
    one: App
    two: App


@pytest.fixture(scope="module")
def _tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenants]:
    with Recorder() as upstream:
        settings = {"ANTHROPIC_API_KEY": "sk-ant-x", "ANTHROPIC_BASE_URL": upstream.url}
        with gateways.running(tmp_path_factory.mktemp("agents"), settings) as gateway:
            yield Tenants(gateway, upstream, make_app(gateway, "one"), make_app(gateway, "two"))


@pytest.fixture
def tenants(_tenants: Tenants) -> Tenants:
    _tenants.upstream.reset()
    return _tenants


class Workspace:
    """Plays one collection after another: makes items with fresh ids, lists and deletes them."""

    made = itertools.count(1)

    def __init__(self) -> None:
        self.items: dict[str, list[dict[str, Any]]] = {}

    def __call__(self, request: Received) -> list[Step]:
        url = urlsplit(request.target)
        collection, _, item = url.path.removeprefix("/v1/").partition("/")
        items = self.items.setdefault(collection, [])
        if request.method == "POST" and not item:
            items.insert(0, {"id": f"{collection}_{next(self.made)}", "type": "novel", **request.json()})
            return answer(body=_written(items[0]))
        if request.method == "GET" and not item:
            query = parse_qs(url.query)
            start = int(query.get("page", ["page_0"])[0].removeprefix("page_"))
            limit = int(query.get("limit", ["20"])[0])
            assert limit <= 100, "the agents' lists have no larger pages"
            more = f"page_{start + limit}" if start + limit < len(items) else None
            return answer(body=_page(items[start : start + limit], more))
        if request.method == "DELETE":
            items[:] = [one for one in items if one["id"] != item]
        found = [one for one in items if one["id"] == item]
        return answer(body=_written(found[0] if found else {"id": item}))


def _written(item: dict[str, Any]) -> bytes:
    """An item in a spelling of its own, which has to be kept."""
    return b' {"n" : 1.10,' + json.dumps(item).encode()[1:]


def _page(items: list[dict[str, Any]], next_page: str | None) -> bytes:
    data = b",\n".join(_written(item).strip() for item in items)
    return b'{"data": [%b], "next_page": %b}\n' % (data, json.dumps(next_page).encode())


def test_all_of_them_are_here() -> None:
    assert len(COLLECTIONS) >= 9
    assert {"/v1/agents", "/v1/sessions", "/v1/vaults", "/v1/tunnels", "/v1/user_profiles"} <= {*COLLECTIONS}


@pytest.mark.parametrize("path", COLLECTIONS)
def test_who_makes_one_owns_it(tenants: Tenants, path: str) -> None:
    tenants.upstream.reply = Workspace()
    owned: dict[App, list[str]] = {tenants.one: [], tenants.two: []}
    for number in range(50):
        app = tenants.one if number % 3 else tenants.two
        got = app.call("POST", path, {"name": str(number)})
        assert got.body.startswith(b' {"n" : 1.10,')  # byte for byte
        owned[app].insert(0, made(got)["id"])

    for app, other in ((tenants.one, tenants.two), (tenants.two, tenants.one)):
        found, query = [], "?limit=6"
        while True:
            got = app.call("GET", path + query)
            listed = made(got)
            assert int(got.header("content-length") or 0) == len(got.body)
            assert got.body.count(b'{"n" : 1.10,') == len(listed["data"])
            found += [item["id"] for item in listed["data"]]
            if listed["next_page"] is None:
                break
            query = f"?limit=6&page={listed['next_page']}"
        assert found == owned[app]
        mine, theirs = owned[app][0], owned[other][0]
        assert made(app.call("GET", f"{path}/{mine}"))["id"] == mine
        asked = len(tenants.upstream.requests)
        assert is_missing(app.call("GET", f"{path}/{theirs}"))
        assert len(tenants.upstream.requests) == asked
    everything = made(tenants.gateway.call("GET", f"{path}?limit=100"))
    assert len(everything["data"]) == 50


@pytest.mark.parametrize("path", DELETABLE)
def test_what_is_deleted_is_forgotten(tenants: Tenants, path: str) -> None:
    tenants.upstream.reply = Workspace()
    name = made(tenants.one.call("POST", path, {}))["id"]
    assert tenants.one.call("DELETE", f"{path}/{name}").status == 200
    assert is_missing(tenants.one.call("GET", f"{path}/{name}"))


def test_what_upstream_refuses_to_delete_stays(tenants: Tenants) -> None:
    tenants.upstream.reply = Workspace()
    name = made(tenants.one.call("POST", "/v1/vaults", {}))["id"]
    tenants.upstream.script(answer(409, b'{"type":"error"}'))
    assert tenants.one.call("DELETE", f"/v1/vaults/{name}").status == 409
    assert tenants.one.call("GET", f"/v1/vaults/{name}").status == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/sessions", {"agent": "agents_x", "environment_id": "e"}),
        ("/v1/sessions", {"agent": {"type": "agent", "id": "agents_x"}}),
        ("/v1/sessions", {"vault_ids": ["vaults_x"]}),
        ("/v1/sessions", {"resources": [{"type": "memory_store", "memory_store_id": "memory_stores_x"}]}),
        ("/v1/sessions", {"resources": [{"type": "file", "file_id": "file_x"}]}),
        ("/v1/deployments", {"agent": "agents_x", "environment_id": "environments_x"}),
        ("/v1/agents", {"skills": [{"type": "custom", "skill_id": "skill_x"}]}),
        ("/v1/agents", {"multiagent": {"type": "coordinator", "agents": ["agents_x"]}}),
        (
            "/v1/agents",
            {"multiagent": {"subagents": {"predefined_agents": [{"type": "agent", "id": "agents_x"}]}}},
        ),
        ("/v1/dreams", {"inputs": [{"type": "sessions", "session_ids": ["sessions_x"]}]}),
        ("/v1/dreams", {"inputs": [{"type": "memory_store", "memory_store_id": "memory_stores_x"}]}),
    ],
)
def test_another_keys_ids_in_bodies(tenants: Tenants, path: str, body: dict[str, Any]) -> None:
    assert is_missing(tenants.one.call("POST", path, body))
    assert tenants.upstream.requests == []


def test_what_a_deployment_brings_forth(tenants: Tenants) -> None:
    """Its runs and their sessions, by hand or on schedule, belong to the key that deployed."""
    tenants.upstream.reply = workspace = Workspace()
    mine = made(tenants.one.call("POST", "/v1/deployments", {}))["id"]
    theirs = made(tenants.two.call("POST", "/v1/deployments", {}))["id"]

    run = {"id": "drun_1", "type": "deployment_run", "deployment_id": mine, "session_id": "sesn_1"}
    tenants.upstream.script(answer(body=json.dumps(run).encode()))
    assert made(tenants.one.call("POST", f"/v1/deployments/{mine}/run", {})) == run
    for app, status in ((tenants.one, 200), (tenants.two, 404)):
        for path in ("/v1/deployment_runs/drun_1", "/v1/sessions/sesn_1", "/v1/sessions/sesn_1/events"):
            assert app.call("GET", path).status == status

    workspace.items["deployment_runs"] = [
        {
            "id": f"drun_s{n}",
            "type": "deployment_run",
            "deployment_id": deployment,
            "session_id": f"sesn_s{n}",
        }
        for n, deployment in enumerate([mine, theirs, mine, "depl_of_nobody"])
    ]
    listed = made(tenants.one.call("GET", "/v1/deployment_runs"))
    assert [item["id"] for item in listed["data"]] == ["drun_s0", "drun_s2"]
    for number, status in enumerate([200, 404, 200, 404]):
        assert tenants.one.call("GET", f"/v1/deployment_runs/drun_s{number}").status == status
        assert tenants.one.call("GET", f"/v1/sessions/sesn_s{number}").status == status


def test_what_a_session_writes(tenants: Tenants) -> None:
    tenants.upstream.reply = workspace = Workspace()
    mine, theirs = (made(app.call("POST", "/v1/sessions", {}))["id"] for app in (tenants.one, tenants.two))
    workspace.items["files"] = [
        {"id": f"file_w{n}", "type": "file", "scope": {"type": "session", "id": session}}
        for n, session in enumerate([mine, theirs])
    ]
    listed = made(tenants.one.call("GET", f"/v1/files?scope_id={mine}"))
    assert [item["id"] for item in listed["data"]] == ["file_w0"]
    assert tenants.one.call("GET", "/v1/files/file_w0/content").status == 200
    assert is_missing(tenants.one.call("GET", "/v1/files/file_w1/content"))
    assert is_missing(tenants.two.call("GET", "/v1/files/file_w0"))
    assert is_missing(tenants.one.call("GET", f"/v1/files?scope_id={theirs}"))


def test_what_dreams_and_environments_bring_forth(tenants: Tenants) -> None:
    tenants.upstream.reply = Workspace()
    dream = made(tenants.one.call("POST", "/v1/dreams", {}))["id"]
    outputs = [{"type": "memory_store", "memory_store_id": "memstore_dreamt"}]
    told = {"id": dream, "type": "dream", "session_id": "sesn_dreams", "outputs": outputs}
    tenants.upstream.script(answer(body=json.dumps(told).encode()))
    assert made(tenants.one.call("GET", f"/v1/dreams/{dream}")) == told

    environment = made(tenants.one.call("POST", "/v1/environments", {}))["id"]
    work = {"id": "work_1", "type": "work", "data": {"type": "session", "id": "sesn_work"}}
    tenants.upstream.script(answer(body=json.dumps(work).encode()))
    assert made(tenants.one.call("GET", f"/v1/environments/{environment}/work/poll")) == work
    listed = {"data": [work | {"data": {"type": "session", "id": "sesn_listed"}}], "next_page": None}
    tenants.upstream.script(answer(body=json.dumps(listed).encode()))
    assert made(tenants.one.call("GET", f"/v1/environments/{environment}/work")) == listed

    sessions = [f"/v1/sessions/sesn_{name}" for name in ("dreams", "work", "listed")]
    for path in ("/v1/memory_stores/memstore_dreamt", *sessions):
        assert tenants.one.call("GET", path).status == 200
        assert is_missing(tenants.two.call("GET", path))


def test_an_admin_that_looks_on_claims_nothing(tenants: Tenants) -> None:
    tenants.upstream.reply = workspace = Workspace()
    mine = made(tenants.one.call("POST", "/v1/deployments", {}))["id"]
    workspace.items["deployment_runs"] = [
        {"id": "drun_a", "type": "deployment_run", "deployment_id": mine, "session_id": "sesn_a"}
    ]
    tenants.gateway.call("GET", "/v1/deployment_runs")
    tenants.gateway.call("GET", "/v1/deployment_runs/drun_a")
    assert made(tenants.one.call("GET", "/v1/deployment_runs"))["data"]
    assert tenants.one.call("GET", "/v1/sessions/sesn_a").status == 200


def test_an_answer_that_is_no_list_is_not_passed_on(tenants: Tenants) -> None:
    tenants.upstream.script(answer(body=b"<html>sesn_of_another</html>", kind="text/html"))
    got = tenants.one.call("GET", "/v1/sessions")
    assert (got.status, got.json()["error"]["type"]) == (502, "api_error")
    assert b"sesn_of_another" not in got.body


def test_an_error_of_the_list_comes_back_as_it_is(tenants: Tenants) -> None:
    error = b'{"type":"error", "error":{"type":"novel_error","message":"no"} }'
    tenants.upstream.script(answer(418, error, headers=[("request-id", "req_u")]))
    got = tenants.one.call("GET", "/v1/agents?limit=5&novel[]=%20")
    assert (got.status, got.body, got.header("request-id")) == (418, error, "req_u")
    assert tenants.upstream.only.target == "/v1/agents?limit=5&novel[]=%20"


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"id":5}', b'{"data":5}', b""])
def test_an_odd_answer_to_a_creation_is_passed_on(tenants: Tenants, body: bytes) -> None:
    tenants.upstream.script(answer(body=body))
    got = tenants.one.call("POST", "/v1/deployments", {})
    assert (got.status, got.body) == (200, body)
