"""`/api/v1/usage` over a real socket: who sees what, how it is added up, and the latest calls."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from tests.conftest import Relay
from tests.support.client import Client
from tests.support.gateway import Gateway
from tests.support.recorder import Gate, stream
from tests.support.transcripts import SHORT, events

USAGE = "/api/v1/usage"
SONNET = "claude-sonnet-4-20250514"
HAIKU = "claude-haiku-4-5"
SUMS = (
    "requests",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cost_usd",
    "estimated_requests",
)


class Apps(NamedTuple):
    kitchen: Client
    study: Client
    study_id: str


def ask(app: Client, model: str) -> dict[str, int]:
    body = {"model": model, "messages": [{"role": "user", "content": "How are you?"}]}
    got = app.call("POST", "/api/v1/messages/create", body)
    assert got.status == 200, got.body
    usage: dict[str, int] = got.json()["data"]["usage"]
    return usage


@pytest.fixture(scope="module")
def apps(sandboxed: Gateway) -> Apps:
    """Two keys: one has asked two models, the other one model twice."""
    made = [
        sandboxed.call("POST", "/api/v1/keys", {"name": name, "scopes": ["messages"]}).json()["data"]
        for name in ("usage kitchen", "usage study")
    ]
    kitchen, study = (Client(sandboxed.url, key["key"]) for key in made)
    ask(kitchen, SONNET)
    ask(kitchen, HAIKU)
    ask(study, SONNET)
    ask(study, SONNET)
    return Apps(kitchen, study, made[1]["id"])


def report(client: Client, query: str = "") -> dict[str, Any]:
    got = client.call("GET", f"{USAGE}?{query}" if query else USAGE)
    assert got.status == 200, got.body
    data: dict[str, Any] = got.json()["data"]
    return data


def test_a_key_sees_its_own(apps: Apps) -> None:
    data = report(apps.kitchen)

    assert data["timezone"] == "UTC"
    assert [(row["key"], row["model"]) for row in data["rows"]] == [
        ("usage kitchen", HAIKU),
        ("usage kitchen", SONNET),
    ]
    today = datetime.now(UTC).date()
    for row in data["rows"]:
        assert tuple(row) == ("key", "model", "day", *SUMS)
        assert row["day"] in {str(today), str(today - timedelta(days=1))}
        assert row["requests"] == 1
        assert row["input_tokens"] > 0
    assert tuple(data["total"]) == SUMS
    for name in SUMS:
        assert Decimal(data["total"][name]) == sum(Decimal(row[name]) for row in data["rows"])


def test_the_cost_is_exact(apps: Apps) -> None:
    [row] = report(apps.study, "group_by=model")["rows"]

    # $3 and $15 a million tokens: 3,000 and 15,000 nano-dollars each.
    nanodollars = 3_000 * row["input_tokens"] + 15_000 * row["output_tokens"]
    assert row["requests"] == 2
    assert Decimal(row["cost_usd"]) == Decimal(nanodollars) / 10**9


def test_an_admin_sees_all(sandboxed: Gateway, apps: Apps) -> None:
    names = {row["key"] for row in report(sandboxed, "group_by=key")["rows"]}

    assert {"usage kitchen", "usage study"} <= names


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        ("group_by=key", ("key",)),
        ("group_by=day,model", ("model", "day")),
        ("group_by=model", ("model",)),
        ("group_by=key_id,day,key,model", ("key", "key_id", "model", "day")),
    ],
)
def test_only_the_columns_asked_for_appear(apps: Apps, query: str, columns: tuple[str, ...]) -> None:
    data = report(apps.kitchen, query)

    assert all(tuple(row) == (*columns, *SUMS) for row in data["rows"])
    assert len(data["rows"]) == (2 if "model" in columns else 1)
    assert data["total"] == report(apps.kitchen)["total"]


def test_days_bound_the_report_on_both_sides(apps: Apps) -> None:
    now = datetime.now(UTC)
    today = now.strftime("%Y-%m-%d")
    yesterday, tomorrow = (f"{now + timedelta(days=days):%Y-%m-%d}" for days in (-1, 1))

    everything = report(apps.kitchen)["total"]["requests"]
    assert everything == 2
    assert report(apps.kitchen, f"from={yesterday}&to={today}")["total"]["requests"] == everything
    assert (
        report(apps.kitchen, f"from={yesterday}T00:00:00Z&to={tomorrow}t12:00:00z")["total"]["requests"]
        == everything
    )
    assert report(apps.kitchen, f"from={tomorrow}")["rows"] == []
    empty = report(apps.kitchen, "to=2020-01-01T00:00:00%2B01:00")
    assert empty["rows"] == []
    assert empty["total"] == dict.fromkeys(SUMS, 0) | {"cost_usd": "0"}


@pytest.mark.parametrize(
    "query",
    [
        "from=yesterday",
        "from=2026-02-30",
        "from=2026-11-22T12:00:00",
        "to=",
        "from=2026-01-01&from=2026-01-02",
        "group_by=",
        "group_by=colour",
        "group_by=day,",
        "group_by=day,day",
        "group_by=day&group_by=key",
        "since=2026-01-01",
    ],
)
def test_a_wrong_query_is_refused(sandboxed: Gateway, query: str) -> None:
    got = sandboxed.call("GET", f"{USAGE}?{query}")

    assert got.status == 400
    assert got.json()["error"].startswith("query parameter ")


def test_a_key_of_any_scope_may_ask(sandboxed: Gateway) -> None:
    fields = {"name": "usage skills", "scopes": ["skills"]}
    app = Client(sandboxed.url, sandboxed.call("POST", "/api/v1/keys", fields).json()["data"]["key"])

    assert report(app)["rows"] == []
    assert app.call("GET", USAGE, with_key=False).status == 401


def test_a_revoked_key_keeps_its_name(sandboxed: Gateway, apps: Apps) -> None:
    sandboxed.call("DELETE", f"/api/v1/keys/{apps.study_id}")
    made = sandboxed.call("POST", "/api/v1/keys", {"name": "usage study"}).json()["data"]
    ask(Client(sandboxed.url, made["key"]), SONNET)

    rows = report(sandboxed, "group_by=key")["rows"]
    assert next(row for row in rows if row["key"] == "usage study")["requests"] == 3
    rows = report(sandboxed, "group_by=key_id,key")["rows"]
    apart = {row["key_id"]: row["requests"] for row in rows if row["key"] == "usage study"}
    assert apart == {apps.study_id: 2, made["id"]: 1}


CALLS = "/api/v1/usage/calls"


def latest(client: Client, limit: int = 20) -> list[dict[str, Any]]:
    got = client.call("GET", f"{CALLS}?limit={limit}")
    assert got.status == 200, got.body
    calls: list[dict[str, Any]] = got.json()["data"]["calls"]
    return calls


def test_the_latest_calls_come_first_and_only_ones_own(apps: Apps) -> None:
    calls = latest(apps.kitchen)

    assert [(call["key"], call["model"]) for call in calls] == [
        ("usage kitchen", HAIKU),
        ("usage kitchen", SONNET),
    ]
    for call in calls:
        assert (call["operation"], call["status"], call["http_status"]) == ("create_message", "done", 200)
        assert call["started_at"] <= call["ended_at"]
        assert (call["requests"], call["estimated"]) == (1, False)
    assert sum(Decimal(call["cost_usd"]) for call in calls) == Decimal(
        report(apps.kitchen)["total"]["cost_usd"]
    )
    assert latest(apps.kitchen, 1) == calls[:1]


def test_an_admin_sees_the_calls_of_all(sandboxed: Gateway, apps: Apps) -> None:
    keys = {call["key"] for call in latest(sandboxed, 1000)}

    assert {"usage kitchen", "usage study"} <= keys


def test_a_call_is_found_by_its_request_id_and_shows_nothing_of_what_was_said(sandboxed: Gateway) -> None:
    body = {"model": HAIKU, "messages": [{"role": "user", "content": "a-word-said-once"}]}
    got = sandboxed.call("POST", "/api/v1/messages/create", body)
    usage, request_id = got.json()["data"]["usage"], got.header("x-request-id")

    answer = sandboxed.call("GET", CALLS)

    call = next(call for call in answer.json()["data"]["calls"] if call["request_id"] == request_id)
    assert call["upstream_request_id"] == got.json()["metadata"]["upstream_request_id"]
    assert {name: call[name] for name in usage if name in call} == {
        name: count for name, count in usage.items() if name in call
    }
    assert b"a-word-said-once" not in answer.body


def test_a_call_under_way_is_shown_with_its_estimate(relay: Relay) -> None:
    gate = Gate()
    relay.upstream.script(stream(events(SHORT[:3]), gate, events(SHORT[3:])))
    body = {"model": SONNET, "messages": [{"role": "user", "content": "How are you?"}]}

    with relay.kitchen.open("POST", "/api/v1/messages/stream", body) as streaming:
        call = latest(relay.kitchen, 1)[0]
        gate.open()
        streaming.read()

    assert (call["status"], call["ended_at"], call["http_status"]) == ("started", None, None)
    assert call["estimated"]
    assert Decimal(call["cost_usd"]) > 0


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=many", "key=usage+study"])
def test_a_wrong_query_for_calls_is_refused(sandboxed: Gateway, query: str) -> None:
    assert sandboxed.call("GET", f"{CALLS}?{query}").status == 400
