"""A gateway with a month of calls behind it: for tests, and for the pictures of the docs."""

import asyncio
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.keys import KeyRing
from gateway.store import Session, Store
from gateway.store.tables import usage_daily
from tests.support import gateway as gateways
from tests.support.gateway import ADMIN_KEY, Gateway

KEYS: list[dict[str, Any]] = [
    {
        "name": "kitchen",
        "scopes": ["messages"],
        "models": ["claude-haiku-*"],
        "budget": {"usd_per_day": 2},
        "limits": {"requests_per_minute": 60, "concurrency": 8},
    },
    {
        "name": "photo album",
        "scopes": ["messages", "batches", "files", "models"],
        "budget": {"usd_per_day": 1, "usd_per_month": 40},
        "limits": {"input_tokens_per_minute": 200_000},
    },
    {"name": "study", "budget": {"usd_per_month": 25}},
    {"name": "door bell", "scopes": ["messages"], "expires_at": "2099-03-01T12:00:00Z"},
]
MODELS = {"claude-haiku-4-5": 1_000, "claude-sonnet-4-20250514": 3_000, "claude-3-opus-20240229": 15_000}
"""Models and their nano-dollars an input token."""


@contextmanager
def busy_gateway(folder: Path) -> Iterator[Gateway]:
    """A gateway on the sandbox with keys, budgets and usage; answers that break the contract fail."""
    _fill(folder / "data")
    settings = {"UPSTREAM": "sandbox", "RESPONSE_VALIDATION": "enforce", "LOG_LEVEL": "DEBUG"}
    with gateways.running(folder, settings) as gateway:
        yield gateway


def _fill(data: Path) -> None:
    data.mkdir(parents=True)
    store = Store(f"sqlite:///{data / 'gateway.db'}")
    try:
        with ThreadPoolExecutor(1) as thread:  # a browser's event loop may be this one's
            thread.submit(lambda: asyncio.run(_live(store))).result()
    finally:
        store.close_now()


async def _live(store: Store) -> None:
    """A month of the house: the same one each time, ending today."""
    ring = KeyRing(store, ADMIN_KEY)
    keys = [(await ring.create(fields))[0] for fields in KEYS]
    chance = random.Random(11)
    today = datetime.now(UTC).date()
    rows: list[dict[str, Any]] = []
    for back in range(40):
        weekday = (today - timedelta(days=back)).weekday() < 5
        for number, key in enumerate(keys):
            for model, price in MODELS.items():
                if chance.random() < (0.25 if weekday else 0.55) + 0.05 * number or not key.allows(model):
                    continue
                requests = chance.randint(4, 40) // (number + 1) + 1
                prompt = requests * chance.randint(300, 2_400)
                answer = requests * chance.randint(80, 700)
                cached = prompt * chance.randint(0, 4)
                rows.append(
                    {
                        "day": (today - timedelta(days=back)).isoformat(),
                        "key_id": key.id,
                        "model": model,
                        "requests": requests,
                        "estimated_requests": int(chance.random() < 0.1),
                        "input_tokens": prompt,
                        "output_tokens": answer,
                        "cache_read_tokens": cached,
                        "cache_write_tokens": prompt // 6,
                        "cost": price * prompt + 5 * price * answer + price * cached // 10,
                    }
                )

    def write(session: Session) -> None:
        session.connection.execute(usage_daily.insert(), rows)

    await store.write(write)
