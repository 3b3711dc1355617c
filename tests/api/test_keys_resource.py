"""`/api/v1/keys` over a real socket: the life of a key, its pages, and everything that is refused."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.client import Client
from tests.support.gateway import SOON, Gateway, eventually

KEYS = "/api/v1/keys"
MESSAGE = {"model": "claude-sonnet-4-20250514", "messages": [{"role": "user", "content": "Hi"}]}
UNLIMITED = {
    "requests_per_minute": None,
    "input_tokens_per_minute": None,
    "output_tokens_per_minute": None,
    "concurrency": None,
}

_NUMBERS = itertools.count(1)


def fresh_name() -> str:
    return f"resource {next(_NUMBERS)}"


def create(gateway: Gateway, **fields: Any) -> dict[str, Any]:
    """A new key, once its millisecond is over: the keys of one stand in no order."""
    got = gateway.call("POST", KEYS, {"name": fresh_name(), **fields})
    assert got.status == 201, got.body
    data: dict[str, Any] = got.json()["data"]
    over = datetime.fromisoformat(data["created_at"]) + timedelta(milliseconds=1)
    eventually(lambda: datetime.now(UTC) >= over or None, SOON)
    return data


def without_secret(issued: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in issued.items() if name != "key"}


def works(gateway: Gateway, secret: str) -> bool:
    got = Client(gateway.url, secret).call("POST", "/api/v1/messages/create", MESSAGE)
    assert got.status in {200, 401}, got.body
    return got.status == 200


def test_a_name_is_all_that_a_new_key_needs(sandboxed: Gateway) -> None:
    name = fresh_name()

    got = sandboxed.call("POST", KEYS, {"name": name})

    assert got.status == 201
    assert got.header("cache-control") == "no-store"
    issued = got.json()["data"]
    assert issued["key"].startswith("sk-gw-")
    assert issued["created_at"] == issued["updated_at"]
    assert without_secret(issued) == {
        "id": issued["id"],
        "name": name,
        "scopes": ["messages", "batches", "models", "files", "skills"],
        "models": ["*"],
        "expires_at": None,
        "limits": UNLIMITED,
        "budget": {"usd_per_day": None, "usd_per_month": None},
        "created_at": issued["created_at"],
        "updated_at": issued["updated_at"],
        "revoked_at": None,
    }
    location = got.header("location")
    assert location == f"{KEYS}/{issued['id']}"
    assert sandboxed.call("GET", location).json()["data"] == without_secret(issued)
    assert works(sandboxed, issued["key"])


def test_a_new_key_has_what_it_was_given(sandboxed: Gateway) -> None:
    fields = {
        "scopes": ["messages", "gateway:admin"],
        "models": ["claude-*", "anthropic.claude-v2:1"],
        "expires_at": "2999-01-31T12:00:00.000Z",
        "limits": {
            "requests_per_minute": 60,
            "input_tokens_per_minute": 10**12,
            "output_tokens_per_minute": None,
            "concurrency": 8,
        },
        "budget": {"usd_per_day": 0.1, "usd_per_month": 1_000_000_000},
    }

    issued = create(sandboxed, **fields)

    assert {name: issued[name] for name in fields} == fields


def test_a_key_with_the_admin_scope_makes_keys(sandboxed: Gateway) -> None:
    admin = Client(sandboxed.url, create(sandboxed, scopes=["gateway:admin"])["key"])

    assert admin.call("POST", KEYS, {"name": fresh_name()}).status == 201


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "'name' is a required property"),
        ({"name": ""}, "/name: "),
        ({"name": " kitchen"}, "/name: must match"),
        ({"name": "kit  chen"}, "/name: must match"),
        ({"name": "kit\nchen"}, "/name: must match"),
        ({"name": "kit\u009bchen"}, "/name: must match"),
        ({"name": "k" * 65}, "/name: must have at most 64 characters"),
        ({"name": None}, "/name: must be string"),
        ({"name": "x", "colour": "red"}, 'unknown property "colour"'),
        ({"name": "x", "key": "sk-gw-mine"}, 'unknown property "key"'),
        ({"name": "x", "scopes": []}, "/scopes: "),
        ({"name": "x", "scopes": ["root"]}, "/scopes/0: must be one of"),
        ({"name": "x", "scopes": ["any"]}, "/scopes/0: must be one of"),
        ({"name": "x", "scopes": ["files", "files"]}, "/scopes: must not have the same item twice"),
        ({"name": "x", "models": ["claude-[ab]"]}, "/models/0: must match"),
        ({"name": "x", "models": ["claude opus"]}, "/models/0: must match"),
        ({"name": "x", "models": ["*"] * 101}, "/models: must have at most 100 items"),
        ({"name": "x", "expires_at": "tomorrow"}, "/expires_at: must be a date-time"),
        ({"name": "x", "expires_at": "2999-01-01"}, "/expires_at: must be a date-time"),
        ({"name": "x", "limits": None}, "/limits: must be object"),
        ({"name": "x", "limits": {"rpm": 1}}, '/limits: unknown property "rpm"'),
        ({"name": "x", "limits": {"concurrency": 0}}, "/limits/concurrency: must be at least 1"),
        ({"name": "x", "limits": {"concurrency": 1.5}}, "/limits/concurrency: must be "),
        ({"name": "x", "limits": {"concurrency": 10**12 + 1}}, "/limits/concurrency: must be at most"),
        ({"name": "x", "budget": {"usd_per_day": -0.01}}, "/budget/usd_per_day: must be at least 0"),
        ({"name": "x", "budget": {"usd_per_day": "5"}}, "/budget/usd_per_day: must be "),
        ({"name": "x", "budget": {"usd_per_month": 10**9 + 1}}, "/budget/usd_per_month: must be at most"),
    ],
)
def test_a_wrong_field_is_named(sandboxed: Gateway, body: dict[str, Any], place: str) -> None:
    got = sandboxed.call("POST", KEYS, body)

    assert got.status == 400
    assert got.json()["metadata"]["error_type"] == "BadRequestError"
    assert place in got.json()["error"]


def test_a_name_belongs_to_one_living_key(sandboxed: Gateway) -> None:
    first, second = create(sandboxed), create(sandboxed)

    for name in (first["name"], "admin"):
        got = sandboxed.call("POST", KEYS, {"name": name})
        assert (got.status, got.json()["metadata"]["error_type"]) == (409, "ConflictError")
        assert sandboxed.call("PATCH", f"{KEYS}/{second['id']}", {"name": name}).status == 409

    sandboxed.call("DELETE", f"{KEYS}/{first['id']}")
    assert sandboxed.call("POST", KEYS, {"name": first["name"]}).status == 201


def test_a_change_touches_what_it_names(sandboxed: Gateway) -> None:
    issued = create(
        sandboxed, limits={"requests_per_minute": 60, "concurrency": 8}, budget={"usd_per_day": 5}
    )
    name = fresh_name()
    changes = {
        "name": name,
        "scopes": ["messages"],
        "limits": {"concurrency": None},
        "budget": {"usd_per_month": 20.5},
        "expires_at": "2999-01-01T01:00:00+01:00",
    }

    got = sandboxed.call("PATCH", f"{KEYS}/{issued['id']}", changes)

    assert got.status == 200
    changed = got.json()["data"]
    assert changed["updated_at"] > issued["updated_at"]
    assert changed == {
        **without_secret(issued),
        "name": name,
        "scopes": ["messages"],
        "limits": {**UNLIMITED, "requests_per_minute": 60},
        "budget": {"usd_per_day": 5, "usd_per_month": 20.5},
        "expires_at": "2999-01-01T00:00:00.000Z",
        "updated_at": changed["updated_at"],
    }
    assert sandboxed.call("GET", f"{KEYS}/{issued['id']}").json()["data"] == changed
    assert Client(sandboxed.url, issued["key"]).call("GET", "/api/v1/models").status == 403

    got = sandboxed.call("PATCH", f"{KEYS}/{issued['id']}", {"expires_at": None})
    assert got.json()["data"]["expires_at"] is None


@pytest.mark.parametrize("body", [{}, {"name": None}, {"id": "key_mine"}, {"scopes": []}])
def test_a_wrong_change_is_refused(sandboxed: Gateway, body: dict[str, Any]) -> None:
    issued = create(sandboxed)

    assert sandboxed.call("PATCH", f"{KEYS}/{issued['id']}", body).status == 400
    assert sandboxed.call("GET", f"{KEYS}/{issued['id']}").json()["data"] == without_secret(issued)


def test_a_time_that_has_passed_is_a_conflict(sandboxed: Gateway) -> None:
    issued = create(sandboxed, expires_at="9999-12-31T23:59:59-12:00")
    assert issued["expires_at"] == "9999-12-31T23:59:59.999Z"

    for method, path in (("POST", KEYS), ("PATCH", f"{KEYS}/{issued['id']}")):
        got = sandboxed.call(method, path, {"name": fresh_name(), "expires_at": "2020-01-01T00:00:00Z"})
        assert (got.status, got.json()["error"]) == (409, "expires_at must be a time to come")


def test_rotation_ends_the_old_secret(sandboxed: Gateway) -> None:
    issued = create(sandboxed)

    got = sandboxed.call("POST", f"{KEYS}/{issued['id']}/rotate")

    assert got.status == 200
    assert got.header("cache-control") == "no-store"
    rotated = got.json()["data"]
    assert rotated["key"] != issued["key"]
    assert without_secret(rotated) == {**without_secret(issued), "updated_at": rotated["updated_at"]}
    assert works(sandboxed, rotated["key"])
    assert not works(sandboxed, issued["key"])


def test_the_old_secret_works_for_the_overlap(sandboxed: Gateway) -> None:
    issued = create(sandboxed)

    rotated = sandboxed.call("POST", f"{KEYS}/{issued['id']}/rotate", {"overlap_seconds": 2}).json()["data"]

    assert works(sandboxed, issued["key"])
    assert works(sandboxed, rotated["key"])
    eventually(lambda: not works(sandboxed, issued["key"]) or None, SOON)
    assert works(sandboxed, rotated["key"])


@pytest.mark.parametrize("overlap", [-1, 30 * 86_400 + 1, 1.5, None, "1"])
def test_a_wrong_overlap_is_refused(sandboxed: Gateway, overlap: object) -> None:
    issued = create(sandboxed)

    got = sandboxed.call("POST", f"{KEYS}/{issued['id']}/rotate", {"overlap_seconds": overlap})

    assert got.status == 400
    assert "/overlap_seconds: " in got.json()["error"]
    assert works(sandboxed, issued["key"])


def test_a_revoked_key_is_useless_for_good(sandboxed: Gateway) -> None:
    issued = create(sandboxed)
    path = f"{KEYS}/{issued['id']}"

    got = sandboxed.call("DELETE", path)

    assert got.status == 200
    revoked = got.json()["data"]
    assert revoked["revoked_at"] is not None
    assert not works(sandboxed, issued["key"])
    assert sandboxed.call("DELETE", path).json()["data"] == revoked
    for method, target, body in (
        ("GET", path, None),
        ("PATCH", path, {"name": fresh_name()}),
        ("POST", f"{path}/rotate", None),
    ):
        got = sandboxed.call(method, target, body)
        assert (got.status, got.json()["error"]) == (404, f"the key {issued['name']} is revoked")
    listed = sandboxed.call("GET", f"{KEYS}?include_revoked=true&limit=1000").json()["data"]["data"]
    assert revoked in listed


def test_a_key_expires(sandboxed: Gateway) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=2)
    issued = create(sandboxed, expires_at=moment.isoformat())
    assert works(sandboxed, issued["key"])

    eventually(lambda: not works(sandboxed, issued["key"]) or None, SOON)

    assert datetime.now(UTC) >= moment
    got = Client(sandboxed.url, issued["key"]).call("GET", "/api/v1/models")
    assert got.json()["error"] == "the key has expired"


@pytest.mark.parametrize(
    ("method", "tail", "body"),
    [("GET", "", None), ("PATCH", "", {"models": []}), ("DELETE", "", None), ("POST", "/rotate", {})],
)
@pytest.mark.parametrize("key_id", ["key_unknown", "key_admin", "key%20x"])
def test_an_unknown_key_is_not_found(
    sandboxed: Gateway, method: str, tail: str, body: dict[str, Any] | None, key_id: str
) -> None:
    got = sandboxed.call(method, f"{KEYS}/{key_id}{tail}", body)

    assert (got.status, got.json()["metadata"]["error_type"]) == (404, "NotFoundError")


OPERATIONS = [
    ("GET", KEYS, None),
    ("POST", KEYS, {"name": "x"}),
    ("GET", f"{KEYS}/key_x", None),
    ("PATCH", f"{KEYS}/key_x", {"models": []}),
    ("DELETE", f"{KEYS}/key_x", None),
    ("POST", f"{KEYS}/key_x/rotate", None),
]


@pytest.mark.parametrize(("method", "path", "body"), OPERATIONS)
def test_only_an_admin_manages_keys(
    sandboxed: Gateway, method: str, path: str, body: dict[str, Any] | None
) -> None:
    scopes = ["messages", "batches", "models", "files", "skills", "agents", "organization"]
    app = Client(sandboxed.url, create(sandboxed, scopes=scopes)["key"])

    got = app.call(method, path, body)
    assert (got.status, got.json()["metadata"]["error_type"]) == (403, "PermissionDeniedError")

    got = app.call(method, path, body, with_key=False)
    assert (got.status, got.json()["metadata"]["error_type"]) == (401, "AuthenticationError")
    assert (got.header("www-authenticate") or "").startswith("Bearer ")


def ids(gateway: Gateway, query: str) -> tuple[list[str], dict[str, Any]]:
    got = gateway.call("GET", f"{KEYS}?{query}")
    assert got.status == 200, got.body
    page = got.json()["data"]
    found = [key["id"] for key in page["data"]]
    assert (page["first_id"], page["last_id"]) == ((found[0], found[-1]) if found else (None, None))
    return found, page


def test_pages_have_no_gap_and_no_double_either_way(sandboxed: Gateway) -> None:
    made = [create(sandboxed)["id"] for _ in range(7)]
    everything, page = ids(sandboxed, "limit=1000")
    assert everything[:7] == made[::-1]
    assert page["has_more"] is False

    forwards, page = ids(sandboxed, "limit=3")
    while page["has_more"]:
        found, page = ids(sandboxed, f"limit=3&after_id={page['last_id']}")
        forwards += found
    assert forwards == everything

    backwards, page = ids(sandboxed, f"limit=3&before_id={everything[-1]}")
    while page["has_more"]:
        found, page = ids(sandboxed, f"limit=3&before_id={page['first_id']}")
        backwards = found + backwards
    assert backwards == everything[:-1]

    between, page = ids(sandboxed, f"after_id={everything[1]}&before_id={everything[4]}")
    assert between == everything[2:4]


def test_a_cursor_holds_when_its_key_is_revoked(sandboxed: Gateway) -> None:
    oldest, middle, newest = (create(sandboxed)["id"] for _ in range(3))
    sandboxed.call("DELETE", f"{KEYS}/{middle}")

    assert ids(sandboxed, "limit=2")[0] == [newest, oldest]
    assert ids(sandboxed, f"limit=1&after_id={middle}")[0] == [oldest]
    assert ids(sandboxed, f"limit=1&before_id={middle}")[0] == [newest]
    assert ids(sandboxed, "limit=3&include_revoked=true")[0] == [newest, middle, oldest]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=0", 400),
        ("limit=1001", 400),
        ("limit=x", 400),
        ("include_revoked=yes", 400),
        ("revoked=true", 400),
        ("after_id=", 400),
        ("after_id=key_unknown", 404),
        ("before_id=key_unknown", 404),
    ],
)
def test_a_wrong_query_is_refused(sandboxed: Gateway, query: str, status: int) -> None:
    assert sandboxed.call("GET", f"{KEYS}?{query}").status == status


def test_a_secret_is_shown_once_and_stands_nowhere(sandboxed: Gateway) -> None:
    issued = create(sandboxed)
    rotated = sandboxed.call("POST", f"{KEYS}/{issued['id']}/rotate").json()["data"]
    assert works(sandboxed, rotated["key"])

    sandboxed.request_line(sandboxed.call("GET", f"{KEYS}/{issued['id']}").header("x-request-id"))

    kept = [path.read_bytes() for path in sandboxed.data.rglob("*") if path.is_file()]
    kept.append(sandboxed.output.read_bytes())
    kept.append(sandboxed.call("GET", f"{KEYS}?limit=1000&include_revoked=true").body)
    kept.append(sandboxed.call("GET", "/metrics").body)
    for secret in (issued["key"], rotated["key"]):
        assert not any(secret.removeprefix("sk-gw-").encode() in text for text in kept)


@pytest.mark.parametrize("scope", ["messages", "skills"])
def test_a_key_may_look_at_itself(sandboxed: Gateway, scope: str) -> None:
    issued = create(sandboxed, scopes=[scope], limits={"concurrency": 3}, budget={"usd_per_day": 1.5})

    got = Client(sandboxed.url, issued["key"]).call("GET", f"{KEYS}/self")

    assert got.status == 200
    assert got.json()["data"] == without_secret(issued)


def test_the_admin_key_may_look_at_itself(sandboxed: Gateway) -> None:
    data = sandboxed.call("GET", f"{KEYS}/self").json()["data"]

    assert (data["id"], data["name"]) == ("key_admin", "admin")
    assert "gateway:admin" in data["scopes"]
    assert sandboxed.call("GET", f"{KEYS}/self", with_key=False).status == 401
