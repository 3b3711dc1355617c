"""What lives as long as the process, when something of it fails."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import sandbox
from gateway.async_messages import service
from gateway.content import Content
from gateway.keys import Key, Limits
from gateway.services import Services
from gateway.settings import Settings

MODEL = "claude-sonnet-4-20250514"
MESSAGE = b'{"model":"%b","max_tokens":10,"messages":[{"role":"user","content":"hi"}]}' % MODEL.encode()
SOON = 10.0


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    settings = Settings(upstream="sandbox", data_dir=tmp_path / "data", config_dir=tmp_path)
    async with sandbox.serve("127.0.0.1", 0) as url:
        made = Services(settings, url)
        await made.start()
        yield made
        await made.close()


async def test_what_cannot_be_read_now_is_run_later(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "AGAIN_AFTER", 0.01)
    read, faults = Content.read, [OSError(24, "Too many open files")] * 2

    async def read_at_last(content: Content, content_id: str) -> bytes:
        if faults:
            raise faults.pop()
        return await read(content, content_id)

    monkeypatch.setattr(Content, "read", read_at_last)
    key = Key("key_app", "app", frozenset({"messages"}), limits=Limits())
    monkeypatch.setattr(services.keys, "usable", lambda _: key)
    message = await services.async_messages.accept(key, [], MESSAGE, MODEL)
    async with asyncio.timeout(SOON):
        while not (found := await services.async_messages.find(key, message.id))[0].finished:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert found[0].status == "succeeded"
    assert not faults


async def test_two_that_count_limits_apart_are_told_of(
    services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        second = Services(services.settings, services.upstream_url)
    assert [record.getMessage()[:31] for record in caplog.records] == ["Another gateway runs on this da"]
    await second.ledger.close()
    await second.store.close()


async def test_one_part_that_cannot_be_closed_keeps_no_other_open(
    services: Services, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    close = services.ledger.close

    async def fail() -> None:
        await close()
        raise OSError("the database is gone")

    monkeypatch.setattr(services.ledger, "close", fail)
    with caplog.at_level(logging.ERROR):
        await services.close()
    assert [record.getMessage() for record in caplog.records] == ["Ledger cannot be closed"]
    assert not services.store.writer._thread.is_alive()
