"""What the settings name, opened: files of their owner alone, and keys that name no limit of their own."""

import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.keys import Budget, Limits
from gateway.opening import open_keys, open_store
from gateway.settings import Settings


@pytest.fixture
def lax() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("lax")
def test_the_database_is_its_owners_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    store = open_store(Settings(upstream="sandbox", data_dir=data))

    assert data.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in data.iterdir()) == ["gateway.db", "gateway.db-shm", "gateway.db-wal"]
    assert {path.stat().st_mode & 0o777 for path in data.iterdir()} == {0o600}
    store.close_now()


async def test_each_default_is_that_of_its_setting(tmp_path: Path) -> None:
    settings = Settings(
        upstream="sandbox",
        data_dir=tmp_path / "data",
        default_requests_per_minute=1,
        default_input_tokens_per_minute=2,
        default_output_tokens_per_minute=3,
        default_concurrency=4,
        default_usd_per_day=Decimal(5),
        default_usd_per_month=Decimal(6),
    )
    store = open_store(settings)
    key, _ = await open_keys(settings, store).create({"name": "kitchen"})
    await store.close()

    assert key.limits == Limits(1, 2, 3, 4)
    assert key.budget == Budget(5_000_000_000, 6_000_000_000)
