"""What batches cost: booked once, to the key that made them, also when nobody reads their results."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway import batch_costs
from gateway.batch_costs import LOOK_AFTER, BatchCosts
from gateway.content import Content
from gateway.ended_batches import EndedBatches
from gateway.errors import BadGateway
from gateway.keys import Key
from gateway.ledger import Ledger, Tally, usage_report
from gateway.pool import Answer
from gateway.prices import PriceTable
from gateway.resources import Owned
from gateway.store import Store
from gateway.upstream import WholeAnswer
from gateway.walls import Walls
from gateway.webhooks import Webhooks
from tests.support.clock import Clock

MODEL = "claude-sonnet-4-20250514"
APP = Key("key_app", "app", frozenset())
BATCH = "msgbatch_1"
PATH = f"/v1/messages/batches/{BATCH}"


class Upstream:
    """Answers by path, 404 where it has nothing; an exception is raised."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []

    async def ask(self, target: str) -> Answer:
        self.asked.append(target)
        found = self.answers.get(target)
        if isinstance(found, Exception):
            raise found
        if isinstance(found, WholeAnswer):
            return found
        if found is None:
            return WholeAnswer(404, [], b"{}")
        return WholeAnswer(200, [], found if isinstance(found, bytes) else json.dumps(found).encode())


def line(number: int, kind: str = "succeeded", **usage: int) -> bytes:
    message = {
        "model": MODEL,
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1000, "output_tokens": 1000} | usage,
    }
    result = {"type": kind} | ({"message": message} if kind == "succeeded" else {})
    return json.dumps({"custom_id": f"r{number}", "result": result}).encode() + b"\n"


RESULTS = line(1) + line(2, "errored") + line(3) + line(4, "expired")
ENDED = {"id": BATCH, "processing_status": "ended"}
OPEN = {"id": BATCH, "processing_status": "in_progress"}
HALF_PRICE = "0.018"
"""Two results, each with 1,000 tokens at $3 a million and 1,000 at $15: half of $0.036."""


class Parts:
    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.clock = Clock()
        self.upstream = Upstream()
        self.walls = Walls(store, self.clock)
        self.ledger = Ledger(store, PriceTable.load(), ZoneInfo("UTC"), self.clock)
        self.told: list[tuple[str, int]] = []
        self.ended = EndedBatches(store, Content(store, folder), 0, Webhooks(store), str, self.clock)
        self.costs = self.restarted()

    def restarted(self) -> BatchCosts:
        return BatchCosts(
            self.store, self.ledger, self.walls, self.ended, self.upstream.ask, self.tell, self.clock
        )

    def tell(self, key_id: str, tally: Tally) -> None:
        self.told.append((key_id, sum(line.cost for line in tally.lines.values())))

    async def cost(self) -> tuple[str, int]:
        total = (await usage_report(self.store, str, key_id=APP.id))["total"]
        return total["cost_usd"], total["requests"]


@pytest.fixture
async def parts(store: Store, tmp_path: Path) -> AsyncIterator[Parts]:
    made = Parts(store, tmp_path / "results")
    await made.walls.record(APP, [Owned("batches", BATCH)])
    yield made
    await made.ledger.close()


async def chunks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def test_half_a_surrogate_pair_in_an_answer_is_paid_for(parts: Parts) -> None:
    """A text that was cut to a length: JSON can say it, UTF-8 cannot."""
    odd = line(1).replace(b'"end_turn"', b'"end_turn", "content": [{"type": "text", "text": "cut \\ud83d"}]')
    assert odd != line(1)

    passed = [chunk async for chunk in parts.costs.read_along(BATCH, chunks(odd + line(2), 100))]

    assert b"".join(passed) == odd + line(2)
    assert await parts.cost() == (HALF_PRICE, 2)


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
async def test_reading_the_results_books_the_batch(parts: Parts, size: int) -> None:
    passed = [chunk async for chunk in parts.costs.read_along(BATCH, chunks(RESULTS, size))]

    assert b"".join(passed) == RESULTS
    assert max(map(len, passed)) <= size
    assert await parts.cost() == (HALF_PRICE, 2)
    assert parts.told == [(APP.id, 18_000_000)]
    assert parts.upstream.asked == []


async def test_reading_them_again_books_nothing(parts: Parts) -> None:
    for _ in range(3):
        assert [chunk async for chunk in parts.costs.read_along(BATCH, chunks(RESULTS, 50))]

    assert await parts.cost() == (HALF_PRICE, 2)
    assert len(parts.told) == 1


async def test_results_that_are_not_read_to_their_end_book_nothing(parts: Parts) -> None:
    reading = parts.costs.read_along(BATCH, chunks(RESULTS, 50))
    await anext(reading)
    await reading.aclose()  # type: ignore[attr-defined]

    assert await parts.cost() == ("0", 0)


async def test_a_batch_that_no_key_made_is_passed_on_unbooked(parts: Parts) -> None:
    passed = [chunk async for chunk in parts.costs.read_along("msgbatch_other", chunks(RESULTS, 50))]

    assert b"".join(passed) == RESULTS
    assert parts.told == []


async def test_garbage_in_the_results_does_not_keep_the_rest_from_the_books(
    parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    odd = b"no json\n[1]\n\n" + json.dumps({"result": {"type": "succeeded"}}).encode() + b"\n"

    assert [chunk async for chunk in parts.costs.read_along(BATCH, chunks(odd + RESULTS.rstrip(), 50))]

    assert await parts.cost() == (HALF_PRICE, 2)
    assert sum("cannot be read" in record.message for record in caplog.records) == 3


async def test_each_kind_of_result_is_read_and_what_is_not_billed_costs_nothing(
    parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    message = {"model": MODEL, "stop_reason": "refusal", "usage": {"input_tokens": 9000, "output_tokens": 0}}
    refused = json.dumps({"result": {"type": "succeeded", "message": message}}).encode() + b"\n"
    results = RESULTS + line(5, "canceled") + refused + line(6).rstrip()

    assert [chunk async for chunk in parts.costs.read_along(BATCH, chunks(results, 50))]

    assert await parts.cost() == ("0.027", 4)  # three at half of $0.018, and one that is free
    assert "cannot be read" not in caplog.text


async def test_results_that_upstream_has_not_at_the_moment_are_not_taken_for_none(parts: Parts) -> None:
    parts.upstream.answers = {PATH: ENDED, f"{PATH}/results": WholeAnswer(500, [], b"{}")}
    parts.clock.now += LOOK_AFTER
    await parts.costs.look()
    assert not await parts.ledger.is_booked(BATCH)

    parts.upstream.answers[f"{PATH}/results"] = RESULTS
    parts.clock.now += LOOK_AFTER
    await parts.costs.look()
    assert await parts.cost() == (HALF_PRICE, 2)


async def test_an_open_batch_is_not_looked_at_within_a_minute(parts: Parts) -> None:
    parts.clock.now += LOOK_AFTER - 1
    await parts.costs.look()
    assert parts.upstream.asked == []
    assert [batch.id for batch in parts.costs.open] == [BATCH]

    parts.clock.now += 1
    parts.upstream.answers[PATH] = OPEN
    await parts.costs.look()
    assert parts.upstream.asked == [PATH]


async def test_a_batch_whose_results_nobody_reads_is_booked_when_it_has_ended(parts: Parts) -> None:
    parts.upstream.answers = {PATH: OPEN}
    for _ in range(3):
        parts.clock.now += LOOK_AFTER
        await parts.costs.look()
    parts.upstream.answers = {PATH: ENDED, f"{PATH}/results": RESULTS}
    parts.clock.now += LOOK_AFTER
    await parts.costs.look()

    assert await parts.cost() == (HALF_PRICE, 2)
    assert parts.upstream.asked == [PATH] * 4 + [f"{PATH}/results"]
    parts.clock.now += 3600
    await parts.costs.look()
    assert len(parts.upstream.asked) == 5
    assert parts.costs.open == []


async def test_long_batches_are_asked_after_less_often(parts: Parts) -> None:
    parts.upstream.answers = {PATH: OPEN}
    for _ in range(24 * 60):
        parts.clock.now += LOOK_AFTER
        await parts.costs.look()

    assert 24 * 6 <= len(parts.upstream.asked) < 24 * 6 + 60


async def test_a_restart_forgets_nothing(parts: Parts) -> None:
    parts.upstream.answers = {PATH: ENDED, f"{PATH}/results": RESULTS}
    parts.clock.now += 3600

    await parts.restarted().look()

    assert await parts.cost() == (HALF_PRICE, 2)


async def test_two_replicas_book_once(parts: Parts) -> None:
    parts.upstream.answers = {PATH: ENDED, f"{PATH}/results": RESULTS}
    parts.clock.now += 3600
    one, other = parts.restarted(), parts.restarted()
    one_reads = [chunk async for chunk in one.read_along(BATCH, chunks(RESULTS, 50))]
    await other.look()

    assert one_reads
    assert await parts.cost() == (HALF_PRICE, 2)


@pytest.mark.parametrize("failing", [PATH, f"{PATH}/results"])
async def test_a_failure_upstream_is_tried_again(parts: Parts, failing: str) -> None:
    answers = {PATH: ENDED, f"{PATH}/results": RESULTS}
    parts.upstream.answers = answers | {failing: BadGateway("the connection to upstream failed")}
    parts.clock.now += LOOK_AFTER
    await parts.costs.look()
    assert await parts.cost() == ("0", 0)

    parts.upstream.answers = answers
    parts.clock.now += LOOK_AFTER
    await parts.costs.look()
    assert await parts.cost() == (HALF_PRICE, 2)


async def test_a_batch_that_is_gone_is_not_followed_for_ever(
    parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    parts.clock.now += LOOK_AFTER
    await parts.costs.look()
    await parts.costs.look()

    assert parts.upstream.asked == [PATH]
    assert any("went without being booked" in record.message for record in caplog.records)
    parts.clock.now += LOOK_AFTER
    await parts.costs.look()
    assert parts.costs.open == []


async def test_after_its_results_are_gone_a_batch_is_left_alone(parts: Parts) -> None:
    parts.clock.now += batch_costs.KEPT + 1

    await parts.costs.look()

    assert parts.upstream.asked == []


async def test_a_batch_is_booked_before_it_is_deleted(parts: Parts) -> None:
    parts.upstream.answers = {PATH: OPEN}
    await parts.costs.settle(BATCH)
    assert await parts.cost() == ("0", 0)

    parts.upstream.answers = {PATH: ENDED, f"{PATH}/results": RESULTS}
    await parts.costs.settle(BATCH)
    assert await parts.cost() == (HALF_PRICE, 2)
    asked = len(parts.upstream.asked)
    await parts.costs.settle(BATCH)
    await parts.costs.settle("msgbatch_other")
    assert len(parts.upstream.asked) == asked
