"""The ledger beside Anthropic's cost report: which days are compared, and how far apart they are."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest

from gateway import reconcile as module
from gateway.errors import BadGateway
from gateway.keys import Key
from gateway.ledger import Ledger
from gateway.pool import Answer
from gateway.prices import PriceTable
from gateway.reconcile import DAYS, PATH, Reconciliation, ReportError
from gateway.store import Store
from gateway.upstream import WholeAnswer
from gateway.usage import Usage

MODEL = "claude-sonnet-4-20250514"
APP = Key("key_app", "app", frozenset())
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Parts:
    """A ledger with a dollar on each of some days, and a report by script."""

    def __init__(self, store: Store) -> None:
        self.now = NOON.timestamp()
        self.ledger = Ledger(store, PriceTable.load(), ZoneInfo("UTC"), lambda: self.now)
        self.reconciliation = Reconciliation(store, self.ask, lambda: self.now)
        self.pages: list[Any] = []
        self.asked: list[dict[str, list[str]]] = []
        self.status = 200

    async def spend(self, days_ago: int, tier: str | None = "standard") -> None:
        self.now = (NOON - timedelta(days=days_ago)).timestamp()
        entry = await self.ledger.begin(APP, "req", "messages_create", MODEL)
        usage: dict[str, Any] = {"input_tokens": 0, "output_tokens": 66_667}
        if tier is not None:
            usage["service_tier"] = tier
        self.ledger.settle(entry, Usage.read(MODEL, usage))
        self.now = NOON.timestamp()

    async def ask(self, target: str) -> Answer:
        parts = urlsplit(target)
        assert parts.path == PATH
        self.asked.append(parse_qs(parts.query))
        return WholeAnswer(self.status, [], json.dumps(self.pages.pop(0)).encode())


def page(*cents: str, next_page: str | None = None) -> dict[str, Any]:
    results = [{"currency": "USD", "amount": amount} for amount in cents]
    data = [{"starting_at": "…", "ending_at": "…", "results": results}, {"results": []}]
    return {"data": data, "has_more": next_page is not None, "next_page": next_page}


@pytest.fixture
async def parts(store: Store) -> AsyncIterator[Parts]:
    made = Parts(store)
    yield made
    await made.ledger.close()


async def test_an_empty_ledger_asks_nothing(parts: Parts) -> None:
    await parts.reconciliation.compare()

    assert parts.asked == []
    assert (parts.reconciliation.drift, parts.reconciliation.last_success) == (None, None)


@pytest.mark.parametrize("days_ago", [0, 1])
async def test_a_ledger_without_a_whole_day_asks_nothing(parts: Parts, store: Store, days_ago: int) -> None:
    await parts.spend(days_ago)
    await store.flush()

    await parts.reconciliation.compare()

    assert parts.asked == []


async def test_whole_days_are_compared(parts: Parts, store: Store) -> None:
    for days_ago, tier in (
        (4, "standard"),
        (3, "standard"),
        (2, None),
        (1, "priority"),
        (1, "standard"),
        (0, None),
    ):
        await parts.spend(days_ago, tier)
    await store.flush()
    parts.pages = [page("100", "50.5"), page("149.5")]
    parts.pages[0] |= {"has_more": True, "next_page": "page_2"}

    await parts.reconciliation.compare()

    # The first day may lack its morning, and today its evening: three days, three dollars.
    first, second = parts.asked
    assert (first["starting_at"], first["ending_at"]) == (["2026-11-19T00:00:00Z"], ["2026-11-22T00:00:00Z"])
    assert second == first | {"page": ["page_2"]}
    assert parts.reconciliation.drift == pytest.approx(0, abs=1e-5)
    assert parts.reconciliation.last_success == parts.now


async def test_no_more_than_a_week(parts: Parts, store: Store) -> None:
    for days_ago in range(20, 0, -1):
        await parts.spend(days_ago)
    await store.flush()
    parts.pages = [page("1400")]

    await parts.reconciliation.compare()

    assert parts.asked[0]["starting_at"] == [f"{NOON - timedelta(days=DAYS):%Y-%m-%d}T00:00:00Z"]
    assert parts.reconciliation.drift == pytest.approx(-0.5, abs=1e-5)


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (403, {}),
        (200, []),
        (200, {"data": [{}]}),
        (200, page("much")),
        (200, {"data": [], "has_more": True}),
    ],
)
async def test_a_report_that_cannot_be_read(parts: Parts, store: Store, status: int, answer: Any) -> None:
    for days_ago in (2, 1):
        await parts.spend(days_ago)
    await store.flush()
    parts.status, parts.pages = status, [answer]

    with pytest.raises(ReportError):
        await parts.reconciliation.compare()

    assert parts.reconciliation.last_success is None


async def test_without_a_bill_there_is_no_drift(parts: Parts, store: Store) -> None:
    for days_ago in (2, 1):
        await parts.spend(days_ago)
    await store.flush()
    parts.pages = [page()]

    await parts.reconciliation.compare()

    assert (parts.reconciliation.drift, parts.reconciliation.last_success) == (None, parts.now)


async def test_a_report_that_did_not_come_is_asked_for_again(
    parts: Parts, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_AFTER", 0.0)
    monkeypatch.setattr(module, "INTERVAL", 0.01)
    asked: list[str] = []
    enough = asyncio.Event()

    async def fail(target: str) -> Answer:
        asked.append(target)
        if len(asked) == 3:
            enough.set()
        raise BadGateway("upstream cannot be reached")

    for days_ago in (2, 1):
        await parts.spend(days_ago)
    await store.flush()
    reconciliation = Reconciliation(store, fail, lambda: parts.now)
    await reconciliation.start()
    async with asyncio.timeout(5):
        await enough.wait()
    await reconciliation.close()
