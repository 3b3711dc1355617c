import asyncio
import random

import pytest

from gateway import walls as module
from gateway.errors import BadRequest, NotFound
from gateway.keys import Key
from gateway.store import Store
from gateway.walls import Owned, Walls, brought_forth, made_by, named_in

ONE = Key("key_one", "one", frozenset(["files", "batches"]))
TWO = Key("key_two", "two", frozenset(["files", "batches"]))
ADMIN = Key("key_admin", "admin", frozenset(["gateway:admin"]))


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def walls(store: Store, clock: Clock) -> Walls:
    return Walls(store, clock)


async def make(walls, clock, count=300):
    """Two keys make files and batches in turn, several within a millisecond."""
    luck = random.Random(3)
    for number in range(count):
        for key in (ONE, TWO):
            files = [Owned("files", f"file_{key.name}_{luck.getrandbits(40):010x}_{number}")]
            await walls.record(key, [*files, Owned("batches", f"msgbatch_{key.name}_{number}")])
        clock.now += luck.choice([0, 0.001, 0.5])


async def all_pages(walls, key, kind, limit):
    found, after = [], None
    while True:
        page = await walls.own_page(key, kind, limit=limit, after=after)
        found += page.ids
        if not page.has_more:
            return found
        assert len(page.ids) == limit
        after = page.ids[-1]


@pytest.mark.parametrize("limit", [1, 7, 20, 1000])
async def test_each_key_pages_over_exactly_its_own(walls, clock, limit):
    await make(walls, clock, 60 if limit == 1 else 300)
    for key in (ONE, TWO):
        for kind in ("files", "batches"):
            found = await all_pages(walls, key, kind, limit)
            assert len(found) == len(set(found)) == (60 if limit == 1 else 300)
            assert all(f"_{key.name}_" in name for name in found)


async def test_pages_backwards_are_the_pages_forwards(walls, clock):
    await make(walls, clock)
    forwards = await all_pages(walls, ONE, "batches", 1000)
    backwards, before = [], forwards[-1]
    while True:
        page = await walls.own_page(ONE, "batches", limit=50, before=before)
        backwards = page.ids + backwards
        if not page.has_more:
            break
        before = page.ids[0]
    assert backwards == forwards[:-1]


async def test_what_is_made_meanwhile_makes_neither_a_gap_nor_a_double(walls, clock):
    await make(walls, clock, 50)
    expected = await all_pages(walls, ONE, "files", 1000)
    first = await walls.own_page(ONE, "files", limit=20)
    clock.now += 1
    await walls.record(ONE, [Owned("files", "file_new")])
    await walls.forget(Owned("files", expected[30]))
    rest = await walls.own_page(ONE, "files", limit=1000, after=first.ids[-1])
    assert first.ids + rest.ids == [name for name in expected if name != expected[30]]


async def test_a_cursor_of_another_key_is_refused(walls, clock):
    await make(walls, clock, 3)
    with pytest.raises(BadRequest, match="none of the ids"):
        await walls.own_page(ONE, "batches", limit=5, after="msgbatch_two_1")
    with pytest.raises(BadRequest, match="not both"):
        await walls.own_page(ONE, "batches", limit=5, after="a", before="b")


async def test_every_cross_access_is_not_found(walls, clock):
    await make(walls, clock, 30)
    for key, other in ((ONE, TWO), (TWO, ONE)):
        for number in range(30):
            await walls.check(key, [Owned("batches", f"msgbatch_{key.name}_{number}")])
            with pytest.raises(NotFound, match="was not found"):
                await walls.check(key, [Owned("batches", f"msgbatch_{other.name}_{number}")])
    mine = Owned("batches", "msgbatch_one_1")
    with pytest.raises(NotFound):  # one foreign id among one's own is enough
        await walls.check(ONE, [mine, Owned("batches", "msgbatch_two_1")])
    with pytest.raises(NotFound):  # what no key made
        await walls.check(ONE, [Owned("files", "file_unknown")])
    with pytest.raises(NotFound):  # the same id of another kind
        await walls.check(ONE, [Owned("files", "msgbatch_one_1")])


async def test_an_admin_passes_everywhere(walls):
    await walls.check(ADMIN, [Owned("files", "file_unknown"), Owned("batches", "x")])


async def test_what_anthropic_provides_belongs_to_all(walls):
    await walls.check(ONE, [Owned("skills", "xlsx")])
    with pytest.raises(NotFound):
        await walls.check(ONE, [Owned("skills", "skill_01X")])


async def test_entering_twice_is_no_error_and_an_id_stays_with_its_first_key(walls):
    file = Owned("files", "file_1")
    await asyncio.gather(*(walls.record(ONE, [file]) for _ in range(10)))
    await walls.record(TWO, [file])
    await walls.check(ONE, [file])
    with pytest.raises(NotFound):
        await walls.check(TWO, [file])
    assert await walls.owner(file) == ONE.id


async def test_what_is_noted_is_there_at_once(walls):
    for number in range(50):
        file = Owned("files", f"file_{number}")
        walls.note(ONE, [file])
        await walls.check(ONE, [file])


async def test_what_is_deleted_is_gone_from_lists_and_checks(walls):
    file = Owned("files", "file_1")
    await walls.record(ONE, [file])
    await walls.check(ONE, [file])
    await walls.forget(file)
    with pytest.raises(NotFound):
        await walls.check(ONE, [file])
    assert (await walls.own_page(ONE, "files", limit=5)).ids == []


async def test_replicas_see_each_others_ids(database_url):
    stores = [Store(database_url), Store(database_url)]
    here, there = (Walls(store) for store in stores)
    await here.record(ONE, [Owned("files", "file_1")])
    await there.check(ONE, [Owned("files", "file_1")])
    with pytest.raises(NotFound):
        await there.check(TWO, [Owned("files", "file_1")])
    for store in stores:
        await store.close()


async def test_memory_is_bounded(walls, monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 10)
    files = [Owned("files", f"file_{number}") for number in range(30)]
    await walls.record(ONE, files)
    await walls.check(ONE, files)
    assert len(walls._owners) == 10
    await walls.check(ONE, files)


def uploaded(file_id):
    return {"type": "file", "file_id": file_id}


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"model": "m", "messages": [{"role": "user", "content": "hi"}]}, set()),
        (
            {"messages": [{"content": [{"type": "document", "source": uploaded("file_1")}]}]},
            {("files", "file_1")},
        ),
        (
            {
                "messages": [
                    {
                        "content": [
                            {
                                "type": "tool_result",
                                "content": [{"type": "image", "source": uploaded("file_2")}],
                            },
                            {"type": "container_upload", "file_id": "file_3"},
                        ]
                    }
                ]
            },
            {("files", "file_2"), ("files", "file_3")},
        ),
        ({"container": "container_1"}, {("containers", "container_1")}),
        (
            {
                "container": {
                    "id": "container_1",
                    "skills": [
                        {"type": "custom", "skill_id": "skill_1", "version": "latest"},
                        {"type": "anthropic", "skill_id": "pptx"},
                    ],
                }
            },
            {("containers", "container_1"), ("skills", "skill_1")},
        ),
        ({"requests": [{"params": {"container": "container_9"}}]}, {("containers", "container_9")}),
        (
            {"agent": {"type": "agent", "id": "agent_1"}, "environment_id": "e1", "vault_ids": ["v1", "v2"]},
            {("agents", "agent_1"), ("environments", "e1"), ("vaults", "v1"), ("vaults", "v2")},
        ),
        ({"agent": "agent_1", "container": None, "file_id": 5}, {("agents", "agent_1")}),
        # The caller's own data, not Anthropic's.
        ({"content": [{"type": "tool_use", "id": "t", "name": "open", "input": {"file_id": "mine"}}]}, set()),
        ({"tools": [{"name": "x", "input_schema": {"properties": {"file_id": {"type": "string"}}}}]}, set()),
        ({"metadata": {"user_id": "u", "session_id": "s"}}, set()),
        ([], set()),
        ("file_id", set()),
    ],
)  # fmt: skip
def test_ids_in_requests_are_found(body, found):
    assert named_in(body) == found


def output(kind, file_id):
    return {
        "type": f"{kind}_tool_result",
        "content": {"type": f"{kind}_result", "content": [{"type": f"{kind}_output", "file_id": file_id}]},
    }


def test_ids_that_an_answer_brings_forth_are_found():
    message = {
        "container": {"id": "container_1", "expires_at": "2027-01-01T00:00:00Z"},
        "content": [
            {"type": "text", "text": "done"},
            output("bash_code_execution", "file_1"),
            output("code_execution", "file_2"),
            {"type": "bash_code_execution_tool_result", "content": {"type": "error", "error_code": "x"}},
        ],
    }
    assert brought_forth(message) == {
        ("containers", "container_1"),
        ("files", "file_1"),
        ("files", "file_2"),
    }
    assert made_by(output("code_execution", "file_2")) == {("files", "file_2")}
    assert brought_forth({"container": None, "content": None}) == set()


def test_a_model_that_repeats_an_id_claims_nothing():
    message = {
        "content": [
            {"type": "tool_use", "id": "t", "name": "x", "input": {"file_id": "file_stolen"}},
            {"type": "text", "text": '{"file_id": "file_stolen"}'},
            {
                "type": "tool_use",
                "file_id": "file_stolen",
                "content": {"content": [{"file_id": "file_stolen"}]},
            },
        ]
    }
    assert brought_forth(message) == set()
