"""What is kept of batches that have ended, who is told, and until when."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from alembic import command
from alembic.config import Config
from pydantic import SecretStr
from sqlalchemy import create_engine, select, text

from gateway.batch_costs import LOOK_AFTER, BatchCosts
from gateway.content import Content, ContentGone
from gateway.ended_batches import DAY, FOLLOWED, KIND, EndedBatches
from gateway.errors import ServiceUnavailable
from gateway.keys import Key
from gateway.ledger import Ledger, Tally
from gateway.pool import Answer
from gateway.prices import PriceTable
from gateway.resources import Owned
from gateway.store import Store
from gateway.store.migrate import SCRIPTS
from gateway.store.tables import ended_batches, webhook_messages
from gateway.upstream import WholeAnswer
from gateway.walls import Walls
from gateway.webhooks import Webhooks
from tests.support.clock import Clock

APP = Key("key_app", "kitchen", frozenset())
BATCH = "msgbatch_1"
PATH = f"/v1/messages/batches/{BATCH}"
ENDED: dict[str, Any] = {
    "id": BATCH,
    "processing_status": "ended",
    "request_counts": {"succeeded": 2},
    "ended_at": "2026-11-22T10:00:00Z",
    "results_url": f"https://api.anthropic.com{PATH}/results",
    "novel": "secret of tomorrow",
}
RESULTS = b'{"custom_id":"a","result":{"type":"expired"}}\n' * 50_000
DAYS = 90


class Parts:
    """A gateway's parts, as after a start."""

    def __init__(
        self, store: Store, folder: Path, clock: Clock, days: int = DAYS, *, told: bool = True
    ) -> None:
        url, secret = (SecretStr("http://hook"), SecretStr("whsec_" + "A" * 32)) if told else (None, None)
        self.store = store
        self.clock = clock
        self.content = Content(store, folder, clock)
        self.webhooks = Webhooks(store, url, secret, now=clock)
        self.ended = EndedBatches(store, self.content, days, self.webhooks, lambda _: "kitchen", clock)
        self.walls = Walls(store, clock)
        self.ledger = Ledger(store, PriceTable.load(), ZoneInfo("UTC"), clock)
        self.answers: dict[str, bytes] = {PATH: json.dumps(ENDED).encode(), f"{PATH}/results": RESULTS}
        self.asked: list[str] = []
        self.costs = BatchCosts(store, self.ledger, self.walls, self.ended, self.ask, _nobody, clock)

    async def ask(self, target: str) -> Answer:
        self.asked.append(target)
        found = self.answers.get(target)
        return WholeAnswer(404, [], b"{}") if found is None else WholeAnswer(200, [], found)

    async def look(self) -> None:
        self.clock.now += LOOK_AFTER + 1
        await self.costs.look()

    async def results(self) -> bytes | None:
        found = await self.ended.find(BATCH)
        if found is None or found.content_id is None:
            return None
        return await self.content.read(found.content_id)

    async def told(self) -> list[dict[str, Any]]:
        rows = await self.store.read(lambda c: c.execute(select(webhook_messages.c.body)).scalars().all())
        return [json.loads(bytes(row)) for row in rows]


def _nobody(_key: str, _tally: Tally) -> None:
    """Metrics are another test's."""


@pytest.fixture
async def parts(store: Store, tmp_path: Path) -> AsyncIterator[Parts]:
    made = Parts(store, tmp_path / "results", Clock())
    await made.walls.record(APP, [Owned("batches", BATCH)])
    yield made
    await made.ledger.close()


async def test_results_are_kept_once_byte_for_byte(parts: Parts) -> None:
    for _ in range(3):
        await parts.look()

    assert await parts.results() == RESULTS
    assert parts.asked == [PATH, f"{PATH}/results"]
    assert await parts.content.sizes() == {KIND: len(RESULTS)}


async def test_results_stay_although_the_commit_seemed_to_fail(
    parts: Parts, lose_acknowledgement: Callable[[], None]
) -> None:
    stored = await parts.content.put(APP.id, KIND, RESULTS, lifetime=DAY)
    lose_acknowledgement()
    await parts.ended.enter(APP.id, BATCH, json.dumps(ENDED).encode(), stored.id)

    assert await parts.results() == RESULTS
    assert len(await parts.told()) == 1


@pytest.mark.parametrize("seemed_to_fail", [False, True])
async def test_results_of_the_slower_of_two_replicas_go(
    parts: Parts, lose_acknowledgement: Callable[[], None], seemed_to_fail: bool
) -> None:
    first, second = [await parts.content.put(APP.id, KIND, RESULTS, lifetime=DAY) for _ in range(2)]
    for stored in (first, second):
        if seemed_to_fail:
            lose_acknowledgement()
        await parts.ended.enter(APP.id, BATCH, json.dumps(ENDED).encode(), stored.id)

    assert await parts.results() == RESULTS
    with pytest.raises(ContentGone):
        await parts.content.read(second.id)


async def test_results_that_lack_a_piece_are_not_kept(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk was full for a moment: what came before and after is not what Anthropic answered."""
    append, faults = parts.content._blobs.append, iter([OSError("no space")])

    async def once(content_id: str, sequence: int, piece: bytes) -> None:
        for fault in faults:
            raise fault
        await append(content_id, sequence, piece)

    monkeypatch.setattr(parts.content._blobs, "append", once)
    async with parts.ended.keeping(APP.id) as keeping:
        for _ in range(2):
            await keeping.write(RESULTS)
        with pytest.raises(ServiceUnavailable):
            await keeping.commit()

    assert parts.ended.failures == 1
    assert await parts.content.sizes() == {}


async def test_the_webhook_is_told_once_and_nothing_of_the_content(parts: Parts) -> None:
    await parts.look()
    await parts.look()

    (message,) = await parts.told()
    assert parts.webhooks._woken.is_set(), "it goes at once"
    assert message["type"] == "batch.ended"
    assert message["data"] == {
        "id": BATCH,
        "processing_status": "ended",
        "request_counts": {"succeeded": 2},
        "created_at": None,
        "ended_at": "2026-11-22T10:00:00Z",
        "expires_at": None,
        "key": "kitchen",
    }


@pytest.mark.parametrize(("days", "told"), [(0, True), (DAYS, False)])
async def test_a_batch_that_its_maker_has_read_is_kept_or_told_as_well(
    parts: Parts, store: Store, tmp_path: Path, days: int, told: bool
) -> None:
    async def lines() -> AsyncIterator[bytes]:
        yield RESULTS

    alone = Parts(store, tmp_path / "results", parts.clock, days, told=told)
    assert [line async for line in alone.costs.read_along(BATCH, lines())] == [RESULTS]
    await alone.look()

    assert await alone.results() == (RESULTS if days else None)
    assert len(await alone.told()) == int(told)
    await alone.ledger.close()


async def test_after_a_restart_the_rest_is_done(parts: Parts, store: Store, tmp_path: Path) -> None:
    parts.answers[PATH] = json.dumps(ENDED | {"processing_status": "in_progress"}).encode()
    await parts.look()
    assert await parts.results() is None

    again = Parts(store, tmp_path / "results", parts.clock)
    await again.look()
    assert await again.results() == RESULTS
    await again.ledger.close()


async def test_a_full_disk_delays_the_keeping_not_the_booking(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(parts.content._blobs, "append", full)
        await parts.look()
    assert await parts.ledger.is_booked(BATCH)
    assert (await parts.told(), parts.ended.failures) == ([], 1)

    await parts.look()
    assert await parts.results() == RESULTS
    assert len(await parts.told()) == 1


@pytest.mark.parametrize(("days", "told"), [(0, True), (DAYS, False), (0, False)])
async def test_each_can_be_had_alone(
    parts: Parts, store: Store, tmp_path: Path, days: int, told: bool
) -> None:
    alone = Parts(store, tmp_path / "results", parts.clock, days, told=told)
    for _ in range(2):
        await alone.look()

    assert (await alone.results() is not None) == bool(days)
    assert len(await alone.told()) == int(told)
    assert alone.asked == [PATH, f"{PATH}/results"]
    await alone.ledger.close()


async def test_a_replica_that_comes_second_leaves_nothing(parts: Parts, store: Store, tmp_path: Path) -> None:
    other = Parts(store, tmp_path / "results", parts.clock)
    await other.ended.enter(APP.id, BATCH, json.dumps(ENDED).encode(), None)
    async with parts.ended.keeping(APP.id) as keeping:
        await keeping.write(RESULTS)
        await parts.ended.enter(APP.id, BATCH, json.dumps(ENDED).encode(), await keeping.commit())

    assert await parts.content.sizes() == {}
    assert len(await parts.told()) == 1
    await other.ledger.close()


async def test_a_batch_that_vanished_is_not_asked_for_again(parts: Parts) -> None:
    parts.answers.clear()
    for _ in range(3):
        await parts.look()

    assert parts.asked == [PATH]
    assert await parts.told() == []


async def test_a_batch_that_is_deleted_is_settled_and_not_kept(parts: Parts) -> None:
    await parts.costs.settle(BATCH)

    assert await parts.ledger.is_booked(BATCH)
    assert await parts.content.sizes() == {}
    assert await parts.told() == []


async def test_forgetting_takes_the_results_along(parts: Parts) -> None:
    await parts.look()
    await parts.ended.forget(BATCH)
    await parts.ended.forget(BATCH)

    assert await parts.ended.find(BATCH) is None
    assert await parts.content.sizes() == {}


async def test_all_of_it_ends(parts: Parts) -> None:
    await parts.look()
    found = await parts.ended.find(BATCH)
    assert found is not None
    assert found.content_id is not None
    assert (await parts.ended.expire(), await parts.content.expire()) == (0, 0)

    parts.clock.now += DAYS * DAY + 1
    assert (await parts.ended.expire(), await parts.content.expire()) == (1, 1)
    with pytest.raises(ContentGone):
        await parts.content.read(found.content_id)


async def test_what_is_kept_for_a_day_is_known_as_ended_for_a_month(
    parts: Parts, store: Store, tmp_path: Path
) -> None:
    """Else it would be taken for an open batch, and fetched again each day."""
    short = Parts(store, tmp_path / "results", parts.clock, 1)
    await short.look()
    short.clock.now += 2 * DAY
    assert (await short.ended.expire(), await short.content.expire()) == (0, 1)
    await short.look()
    assert short.asked == [PATH, f"{PATH}/results"]

    short.clock.now += FOLLOWED
    assert await short.ended.expire() == 1
    await short.ledger.close()


async def test_results_that_cannot_be_written_are_said_so(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parts.content._blobs, "append", full)
    async with parts.ended.keeping(APP.id) as keeping:
        await keeping.write(RESULTS)
        await keeping.write(RESULTS)
        with pytest.raises(ServiceUnavailable):
            await keeping.commit()


def test_an_upgrade_announces_nothing_of_the_past(tmp_path: Path) -> None:
    """Batches that are booked already count as ended: they are neither fetched again nor told of."""
    url = f"sqlite:///{tmp_path}/gateway.db"
    engine = create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        connection.execute(
            text("INSERT INTO owners VALUES ('batches', 'b1', 'key_app', 1), ('files', 'b2', 'k', 1)")
        )
        connection.execute(text("INSERT INTO booked_batches VALUES ('b1', 5), ('b2', 6), ('b3', 7)"))
    engine.dispose()

    store = Store(url)
    found = store.read_now(lambda c: c.execute(select(ended_batches)).all())
    store.close_now()
    assert [(row.batch_id, row.key_id, row.content_id, row.ended_at) for row in found] == [
        ("b1", "key_app", None, 5)
    ]
    assert found[0].expires_at == 5 + FOLLOWED * 1000
