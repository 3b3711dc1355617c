"""The ledger's latest rows."""

from pathlib import Path

import pytest

from gateway.ledger import recent, recent_calls
from gateway.store import Session, Store
from gateway.store.tables import calls

START = 1_790_000_000_000


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Ten calls: the last is the tenth, each third one is `b`'s, the others are `a`'s."""
    store = Store(f"sqlite:///{tmp_path / 'gateway.db'}")
    rows = [
        {
            "id": number,
            "request_id": f"req_{number}",
            "key_id": "b" if number % 3 == 0 else "a",
            "instance_id": 1,
            "operation": "create_message",
            "model": "claude-haiku-4-5",
            "day": "2026-09-21",
            "started_at": START + number,
            "ended_at": START + number + 5,
            "status": "done",
            "http_status": 200,
            "input_tokens": number,
            "cache_write_5m_tokens": 2,
            "cache_write_1h_tokens": 3,
            "cost": 1_500_000 * number,
            "estimated": False,
            "reserved": 0,
        }
        for number in range(1, 11)
    ]

    def write(session: Session) -> None:
        session.connection.execute(calls.insert(), rows)

    store.write_now(write)
    return store


async def ids(store: Store, limit: int, key_id: str | None = None) -> list[str]:
    return [call["request_id"] for call in await recent_calls(store, str.upper, limit=limit, key_id=key_id)]


async def test_the_latest_come_first(store: Store) -> None:
    assert await ids(store, 3) == ["req_10", "req_9", "req_8"]
    assert await ids(store, 3, "b") == ["req_9", "req_6", "req_3"]
    assert await ids(store, 2, "b") == ["req_9", "req_6"]
    assert await ids(store, 3, "nobody") == []
    await store.close()


async def test_how_far_back_a_keys_calls_are_looked_for_is_bounded(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for looked_at, found in ((4, ["req_9"]), (5, ["req_9", "req_6"])):
        monkeypatch.setattr(recent, "LOOKED_AT", looked_at)
        assert await ids(store, 10, "b") == found
    assert len(await ids(store, 10)) == 10
    await store.close()


async def test_what_a_row_says(store: Store) -> None:
    [call] = await recent_calls(store, str.upper, limit=1)

    assert (call["key"], call["cost_usd"], call["input_tokens"]) == ("A", "0.015", 10)
    assert call["cache_creation_input_tokens"] == 5
    assert call["started_at"] == "2026-09-21T14:13:20.010Z"
    assert call["ended_at"] == "2026-09-21T14:13:20.015Z"
    await store.close()
