"""Two keys, 300 batches and files each, made in turn: each lists exactly its own, in both dialects."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import anthropic
import pytest

from tests.support import gateway as gateways
from tests.support.client import Answer, Client
from tests.support.gateway import Gateway
from tests.support.walls import App, is_missing, made, make_app, make_batch, make_skill, upload

COUNT = 300
BATCHES = ("/v1/messages/batches", "/api/v1/batches")
FILES = ("/v1/files", "/api/v1/files")


class Tenants(NamedTuple):
    gateway: Gateway
    apps: dict[str, App]
    batches: dict[str, list[str]]
    files: dict[str, list[str]]
    """What each made, the latest first."""


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenants]:
    settings = {"UPSTREAM": "sandbox", "RESPONSE_VALIDATION": "enforce"}
    with gateways.running(tmp_path_factory.mktemp("tenants"), settings) as gateway:
        apps = {name: make_app(gateway, name) for name in ("one", "two")}
        batches: dict[str, list[str]] = {name: [] for name in apps}
        files: dict[str, list[str]] = {name: [] for name in apps}
        for number in range(COUNT):
            for name, app in apps.items():
                create = "/api/v1/batches/create" if number % 2 else BATCHES[0]
                batches[name].insert(0, make_batch(app, create))
                store = "/api/v1/files/upload" if number % 3 else FILES[0]
                files[name].insert(0, upload(app, store))
        yield Tenants(gateway, apps, batches, files)


def page(client: App | Client, target: str) -> dict[str, Any]:
    return made(client.call("GET", target))


def ids(listed: dict[str, Any]) -> list[str]:
    return [item["id"] for item in listed["data"]]


def by_ids(client: App | Client, path: str, limit: int) -> list[str]:
    listed = page(client, f"{path}?limit={limit}")
    found = ids(listed)
    while listed["has_more"]:
        assert (listed["first_id"], listed["last_id"]) == (ids(listed)[0], ids(listed)[-1])
        listed = page(client, f"{path}?limit={limit}&after_id={listed['last_id']}")
        assert listed["data"]
        found += ids(listed)
    return found


def by_tokens(client: App | Client, path: str, limit: int, query: str = "") -> list[str]:
    listed = page(client, f"{path}?limit={limit}{query}")
    found = ids(listed)
    while listed["next_page"] is not None:
        assert len(listed["data"]) == limit
        listed = page(client, f"{path}?limit={limit}{query}&page={listed['next_page']}")
        found += ids(listed)
    return found


@pytest.mark.parametrize("limit", [7, 20, 300, 1000])
@pytest.mark.parametrize("path", BATCHES)
@pytest.mark.parametrize("name", ["one", "two"])
def test_each_lists_exactly_its_own_batches(tenants: Tenants, name: str, path: str, limit: int) -> None:
    assert by_ids(tenants.apps[name], path, limit) == tenants.batches[name]


@pytest.mark.parametrize("limit", [7, 20, 300, 1000])
@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("name", ["one", "two"])
def test_each_lists_exactly_its_own_files(tenants: Tenants, name: str, path: str, limit: int) -> None:
    assert by_tokens(tenants.apps[name], path, limit) == tenants.files[name]


@pytest.mark.parametrize("path", BATCHES)
def test_batches_backwards(tenants: Tenants, path: str) -> None:
    own = tenants.batches["one"]
    found, cursor = [own[-1]], own[-1]
    while True:
        listed = page(tenants.apps["one"], f"{path}?limit=70&before_id={cursor}")
        found = ids(listed) + found
        if not listed["has_more"]:
            break
        cursor = listed["first_id"]
    assert found == own


@pytest.mark.parametrize("path", [*BATCHES, *FILES])
def test_the_default_is_twenty_and_items_are_upstreams_bytes(tenants: Tenants, path: str) -> None:
    got = tenants.apps["two"].call("GET", path)
    own = (tenants.batches if "batches" in path else tenants.files)["two"][:20]
    assert ids(made(got)) == own
    item = tenants.gateway.call("GET", f"{path}/{own[0]}")
    raw = (
        item.body
        if path.startswith("/v1")
        else item.body.split(b'"data":', 1)[1].rsplit(b',"metadata"', 1)[0]
    )
    assert raw in got.body


def test_the_sdk_pages_through(tenants: Tenants) -> None:
    app = tenants.apps["one"]
    with anthropic.Anthropic(
        base_url=tenants.gateway.url, api_key=str(app.client.key), max_retries=0
    ) as client:
        assert [batch.id for batch in client.messages.batches.list(limit=70)] == tenants.batches["one"]
        assert [file.id for file in client.files.list(limit=70)] == tenants.files["one"]
        assert [file.id for file in client.files.list()] == tenants.files["one"]


@pytest.mark.parametrize("path", [*BATCHES, *FILES])
def test_an_admin_sees_all_as_upstream_lists_it(tenants: Tenants, path: str) -> None:
    make = upload if "files" in path else make_batch
    unowned = make(tenants.gateway)  # as the admin's own, which the others do not see either
    walk = by_tokens if "files" in path else by_ids
    both = tenants.files if "files" in path else tenants.batches
    found = walk(tenants.gateway, path, 250)
    assert {*both["one"], *both["two"], unowned} <= set(found)
    assert len(found) == len(set(found))
    for app in tenants.apps.values():
        assert unowned not in walk(app, path, 1000)


def test_files_by_their_ids(tenants: Tenants) -> None:
    wanted = [tenants.files["one"][3], tenants.files["two"][5], tenants.files["one"][9]]
    query = "&".join(f"ids[]={name}" for name in wanted)
    for path in FILES:
        listed = page(tenants.apps["one"], f"{path}?{query}")
        assert ids(listed) == [wanted[0], wanted[2]]
        assert listed["next_page"] is None


def test_skills_of_ones_own_and_anthropics(tenants: Tenants) -> None:
    one, two = tenants.apps.values()
    mine = make_skill(one, "wall-one")
    theirs = make_skill(two, "wall-two", "/api/v1/skills")
    for path in ("/v1/skills", "/api/v1/skills"):
        anthropics = set(by_tokens(one, path, 20, "&source=anthropic"))
        assert {"xlsx", "pptx"} <= anthropics
        assert set(by_tokens(one, path, 2)) == anthropics | {mine}
        assert set(by_tokens(two, path, 2)) == anthropics | {theirs}
        assert one.call("GET", f"{path}/xlsx").status == 200
        assert is_missing(one.call("GET", f"{path}/{theirs}"))


def test_models_are_everyones(tenants: Tenants) -> None:
    for path in ("/v1/models", "/api/v1/models"):
        everything = ids(page(tenants.gateway, path))
        assert everything
        assert ids(page(tenants.apps["one"], path)) == everything


@pytest.mark.parametrize("path", BATCHES)
@pytest.mark.parametrize("cursor", ["after_id", "before_id"])
def test_a_cursor_of_another_key_is_not_found(tenants: Tenants, path: str, cursor: str) -> None:
    assert is_missing(tenants.apps["one"].call("GET", f"{path}?{cursor}={tenants.batches['two'][5]}"))


@pytest.mark.parametrize("path", [BATCHES[0], FILES[0]])
@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=1001", "page=page_x&after_id="])
def test_wrong_queries_are_refused_as_upstream_does(tenants: Tenants, path: str, query: str) -> None:
    got = tenants.apps["one"].call("GET", f"{path}?{query}")
    assert got.status in (400, 404), got.body
    assert json.loads(got.body)["type"] == "error"


def test_every_cross_access_is_not_found(tenants: Tenants) -> None:
    one, two = tenants.apps.values()
    kinds = [*((path, tenants.batches) for path in BATCHES), *((path, tenants.files) for path in FILES)]
    for path, of in kinds:
        for name in of["two"][::30]:
            assert is_missing(one.call("GET", f"{path}/{name}"))
            assert is_missing(one.call("DELETE", f"{path}/{name}"))
            assert two.call("GET", f"{path}/{name}").status == 200


def statuses(answers: list[Answer]) -> list[int]:
    return [answer.status for answer in answers]


def test_what_is_deleted_is_gone_for_all(tenants: Tenants) -> None:
    one = make_app(tenants.gateway, "short-lived")
    for path in FILES:
        name = upload(one)
        assert one.call("DELETE", f"{path}/{name}").status == 200
        assert ids(page(one, path)) == []
        assert statuses([app.call("GET", f"{path}/{name}") for app in (one, tenants.gateway)]) == [404, 404]
