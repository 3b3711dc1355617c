"""Contents: whole or not at all, their key's own, gone at their end, in files or in rows."""

import asyncio
import errno
import os
import time

import pytest

from gateway.content import Content, ContentGone
from gateway.content.blobs import PIECE, STALE
from gateway.errors import ServiceUnavailable
from tests.support.clock import Clock

DAY = 86_400.0
LARGE = os.urandom(PIECE) * 2 + b"and a bit"


@pytest.fixture
def clock():
    return Clock(time.time())


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def content(store, folder, clock):
    return Content(store, folder, clock)


async def of(*pieces):
    for piece in pieces:
        yield piece


@pytest.mark.parametrize("data", [b"", b"short", LARGE], ids=["empty", "short", "large"])
async def test_what_is_put_is_read_again(content, data):
    stored = await content.put("key_a", "answer", data, lifetime=DAY)
    assert stored.size == len(data)
    assert await content.read(stored.id) == data
    assert await content.find(stored.id) == stored


async def test_a_stream_of_any_cuts_is_kept_and_read_in_pieces(content):
    cuts = (LARGE[:1], LARGE[1:PIECE], b"", LARGE[PIECE : PIECE + 7], LARGE[PIECE + 7 :])
    stored = await content.put("key_a", "answer", of(*cuts), lifetime=DAY)
    pieces = [piece async for piece in content.pieces(stored.id)]
    assert b"".join(pieces) == LARGE
    assert max(map(len, pieces)) == PIECE


async def test_files_are_for_the_servers_user_alone(store, content, folder):
    if not store.embedded:
        assert (await content.put("key_a", "answer", b"x", lifetime=DAY)).size == 1
        assert not folder.exists()
        return
    stored = await content.put("key_a", "answer", LARGE, lifetime=DAY)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in folder.iterdir()] == [stored.id]
    assert (folder / stored.id).stat().st_mode & 0o777 == 0o600


async def test_a_source_that_breaks_leaves_nothing(store, content, folder):
    async def broken():
        yield LARGE
        raise RuntimeError("broken off")

    with pytest.raises(RuntimeError, match="broken off"):
        await content.put("key_a", "answer", broken(), lifetime=DAY)
    assert await content.sizes() == {}
    assert not store.embedded or list(folder.iterdir()) == []


async def test_what_is_not_committed_is_discarded(store, content, folder):
    async with content.writer("key_a", "answer", lifetime=DAY) as writer:
        await writer.write(LARGE)
    assert await content.sizes() == {}
    assert not store.embedded or list(folder.iterdir()) == []


async def test_what_cannot_be_entered_leaves_nothing(store, content, folder, monkeypatch):
    discarded = []
    delete = content._blobs.delete

    async def enter(_stored):
        raise ServiceUnavailable("the database is away")

    async def noted(content_ids):
        discarded.extend(content_ids)
        await delete(content_ids)

    monkeypatch.setattr(content, "enter", enter)
    monkeypatch.setattr(content._blobs, "delete", noted)
    with pytest.raises(ServiceUnavailable, match="is away"):
        await content.put("key_a", "answer", LARGE, lifetime=DAY)
    assert len(discarded) == 1
    assert not store.embedded or list(folder.iterdir()) == []


@pytest.mark.parametrize("fault", [OSError("read-only"), ServiceUnavailable("the database is away")])
async def test_what_cannot_be_discarded_hides_no_other_fault(content, monkeypatch, fault):
    """It is left for the sweep."""

    async def delete(_content_ids):
        raise fault

    async def broken():
        yield LARGE
        raise RuntimeError("broken off")

    monkeypatch.setattr(content._blobs, "delete", delete)
    with pytest.raises(RuntimeError, match="broken off"):
        await content.put("key_a", "answer", broken(), lifetime=DAY)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # PostgreSQL's disk is its own
async def test_a_full_disk_is_said_and_leaves_nothing(store, content, folder, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("gateway.content.blobs.os.fsync", full)
    with pytest.raises(ServiceUnavailable, match="No space left"):
        await content.put("key_a", "answer", LARGE, lifetime=DAY)
    assert list(folder.iterdir()) == []
    monkeypatch.undo()
    assert (await content.put("key_a", "answer", b"room again", lifetime=DAY)).size == 10


async def test_deletion_by_id_by_key_and_by_kind(store, content, folder):
    mine = [await content.put("key_a", kind, b"x", lifetime=DAY) for kind in ("answer", "answer", "replay")]
    other = await content.put("key_b", "answer", b"xyz", lifetime=DAY)
    await content.delete(mine[0].id)
    await content.delete(mine[0].id)  # twice is no error
    with pytest.raises(ContentGone):
        await content.read(mine[0].id)
    assert await content.delete_of("key_a", "replay") == 1
    assert await content.delete_of("key_a") == 1
    assert await content.sizes() == {"answer": 3}
    assert await content.read(other.id) == b"xyz"
    assert not store.embedded or [path.name for path in folder.iterdir()] == [other.id]


async def test_what_is_past_its_end_is_gone_before_and_after_it_is_deleted(store, content, folder, clock):
    stored = await content.put("key_a", "answer", LARGE, lifetime=60)
    kept = await content.put("key_a", "answer", b"kept", lifetime=DAY)
    clock.now += 60
    with pytest.raises(ContentGone):
        await content.read(stored.id)
    assert await content.expire() == 1
    assert await content.sizes() == content.kept == {"answer": 4}
    assert await content.read(kept.id) == b"kept"
    assert not store.embedded or [path.name for path in folder.iterdir()] == [kept.id]


async def test_the_remains_of_a_process_that_died_are_swept_once_they_are_old(content, folder, clock):
    kept = await content.put("key_a", "answer", b"kept", lifetime=3 * DAY)
    lost = await content.put("key_a", "answer", LARGE, lifetime=3 * DAY)
    await content._store.write(_forget, lost.id)
    half = content.writer("key_a", "answer", lifetime=3 * DAY)
    await half.write(LARGE)
    assert await content.expire() == 0  # they may still be written to
    clock.now += STALE + 60
    assert await content.expire() == 2
    assert await content.expire() == 0
    assert await content.read(kept.id) == b"kept"


async def test_what_a_nas_puts_into_the_folder_is_left_alone(content, folder, clock):
    kept = await content.put("key_a", "answer", LARGE, lifetime=3 * DAY)
    thumbnails = folder / ".@__thumb"
    thumbnails.mkdir(parents=True)
    os.utime(thumbnails, (1, 1))
    clock.now += STALE + 60
    assert await content.expire() == 0
    assert thumbnails.is_dir()
    assert await content.read(kept.id) == LARGE


async def test_deletion_while_it_is_read_is_said(content):
    stored = await content.put("key_a", "answer", LARGE, lifetime=DAY)
    pieces = content.pieces(stored.id)
    assert await anext(pieces) == LARGE[:PIECE]
    await content.delete(stored.id)
    with pytest.raises(ContentGone):
        await anext(pieces)


async def test_many_at_once(content):
    stored = await asyncio.gather(
        *(content.put("key_a", "answer", b"%d" % number, lifetime=DAY) for number in range(50))
    )
    assert [await content.read(one.id) for one in stored] == [b"%d" % number for number in range(50)]


def _forget(session, content_id):
    session.connection.exec_driver_sql(f"DELETE FROM contents WHERE id = '{content_id}'")
