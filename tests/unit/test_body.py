"""Bodies are taken in up to a size, and no further."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

import openapi
from gateway.body import BATCH_LIMIT, FILE_LIMIT, JSON_LIMIT, MULTIPART_ALLOWANCE, BodyReader, media_type
from gateway.catalog import Catalog
from gateway.errors import BadRequest, CallerGone, ContentTooLarge

CATALOG = Catalog({name: openapi.load(name) for name in ("native", "envelope")})
Message = dict[str, Any]


class FakeCall:
    """As much of a call as a reader needs."""

    def __init__(self, *messages: Message, length: bytes | None = None) -> None:
        self.messages = list(messages)
        self.content_length = length
        self.disconnected = False
        self.watched = False

    async def receive(self) -> Message:
        return self.messages.pop(0)

    def watch(self) -> None:
        self.watched = True


def part(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


GONE: Message = {"type": "http.disconnect"}


def reader(limit: int | None = None) -> BodyReader:
    made = BodyReader(CATALOG["messages_create"])
    made.limit = made.limit if limit is None else limit
    return made


@pytest.mark.parametrize(
    ("operation", "limit"),
    [
        ("messages_create", JSON_LIMIT),
        ("count_tokens", JSON_LIMIT),
        ("messages_batches_create", BATCH_LIMIT),
        ("create_batch", BATCH_LIMIT),
        ("files_upload", FILE_LIMIT + MULTIPART_ALLOWANCE),
        ("upload_file", FILE_LIMIT + MULTIPART_ALLOWANCE),
        ("skills_create", FILE_LIMIT + MULTIPART_ALLOWANCE),
    ],
)
def test_limits(operation: str, limit: int) -> None:
    assert BodyReader(CATALOG[operation]).limit == limit


async def test_read_in_one_piece_and_in_several() -> None:
    assert await reader().read(FakeCall(part(b"abc", more=False))) == b"abc"
    assert await reader().read(FakeCall(part(b"a"), part(b""), part(b"bc"), part(b"", more=False))) == b"abc"
    assert await reader().read(FakeCall({"type": "http.request"})) == b""


@pytest.mark.parametrize("pieces", [[b"abcd"], [b"abc", b"d"], [b"a", b"b", b"c", b"d"]])
async def test_too_large_while_reading(pieces: list[bytes]) -> None:
    messages = [part(piece) for piece in pieces[:-1]] + [part(pieces[-1], more=False)]

    with pytest.raises(ContentTooLarge) as refused:
        await reader(3).read(FakeCall(*messages))

    assert (b"connection", b"close") in refused.value.headers
    assert await reader(4).read(FakeCall(*messages)) == b"abcd"


async def test_too_large_by_its_length_is_not_read() -> None:
    call = FakeCall(part(b"abcd", more=False), length=b"4")

    with pytest.raises(ContentTooLarge):
        await reader(3).read(call)

    assert len(call.messages) == 1


@pytest.mark.parametrize("length", [b"", b"-1", b"1.0", b"0x10", b"one", b"1 1", "²".encode()])
def test_length_that_is_no_number(length: bytes) -> None:
    with pytest.raises(BadRequest):
        reader().check_length(FakeCall(length=length))


def test_lengths() -> None:
    assert reader().check_length(FakeCall()) is None
    assert reader().check_length(FakeCall(length=b"0012")) == 12
    assert reader(12).check_length(FakeCall(length=b"12")) == 12


@pytest.mark.parametrize("before", [[], [part(b"a")]])
async def test_a_caller_that_leaves_while_sending(before: list[Message]) -> None:
    call = FakeCall(*before, GONE)

    with pytest.raises(CallerGone):
        await reader().read(call)

    assert call.disconnected


async def test_streamed() -> None:
    call = FakeCall(part(b"a"), part(b"b", more=False))
    stream: AsyncIterator[bytes] = reader().stream(call)

    assert await anext(stream) == b"a"
    assert not call.watched
    assert [chunk async for chunk in stream] == [b"b"]
    assert call.watched


async def test_streamed_and_too_large() -> None:
    stream = reader(3).stream(FakeCall(part(b"ab"), part(b"cd", more=False)))

    assert await anext(stream) == b"ab"
    with pytest.raises(ContentTooLarge):
        await anext(stream)

    call = FakeCall(part(b"ab"), part(b"c", more=False))
    assert [chunk async for chunk in reader(3).stream(call)] == [b"ab", b"c"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", (b"", b"")),
        (b"application/json", (b"application/json", b"")),
        (b"Application/JSON; Charset=UTF-8", (b"application/json", b"utf-8")),
        (b'application/json ; a=b; charset="utf-8"', (b"application/json", b"utf-8")),
        (b"multipart/form-data; boundary=charset", (b"multipart/form-data", b"")),
    ],
)
def test_media_type(value: bytes, expected: tuple[bytes, bytes]) -> None:
    assert media_type(value) == expected
