"""Heads that come again are not parsed again: what the application sees must be the same as if they were."""

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from gateway import protocol
from gateway.head import Head, RepeatedHead
from tests.unit.test_protocol import calling, serving

LONG = 10.0

HEAD = (
    b"POST /v1/messages?beta=true HTTP/1.1\r\nHost: gateway\r\nX-Api-Key: sk\r\n"
    b"Content-Length: %d\r\nAccept: */*\r\n\r\n"
)
GET = b"GET /v1/models HTTP/1.1\r\nhost: gateway\r\nX-Api-Key:  sk \r\n\r\n"


def post(body: bytes, head: bytes = HEAD) -> bytes:
    return head % len(body) + body


def scope_of(*headers: tuple[bytes, bytes], method: str = "POST") -> dict[str, Any]:
    scope: dict[str, Any] = {"method": method, "raw_path": b"/v1/messages", "headers": list(headers)}
    scope["head"] = Head(scope)
    return scope


HEADERS = ((b"host", b"gateway"), (b"x-api-key", b"sk"), (b"content-length", b"3"), (b"accept", b"*/*"))


def test_a_head_is_known_again_with_another_length() -> None:
    known = RepeatedHead.learn(post(b"abc"), b"/v1/messages?beta=true", scope_of(*HEADERS))
    assert known is not None
    for body in (b"", b"x", b"y" * 12_345):
        start, digits = known.find(post(body)) or (0, b"")
        assert (post(body)[start:], digits) == (body, b"%d" % len(body))
        headers = known.scope(digits)["headers"]
        assert headers == [*HEADERS[:2], (b"content-length", b"%d" % len(body)), HEADERS[3]]
    assert known.scope(b"1")["head"] is known.scope(b"2")["head"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HEAD[:30],
        (HEAD % 3)[:-1],
        (HEAD % 3)[:-2] + b"X: y\r\n\r\nabc",
        post(b"abc").replace(b"sk", b"sK"),
        post(b"abc").replace(b": 3", b": "),
        post(b"abc").replace(b": 3", b": +3"),
        post(b"abc").replace(b": 3", b": 3 "),
        post(b"abc").replace(b": 3", b": 3, 3"),
        post(b"abc").replace(b": 3", b": 0x3"),
        post(b"abc").replace(b": 3", b": " + b"3" * 10),
        post(b"abc").replace(b": 3", b": \xb3"),
        b"\r\n" + post(b"abc"),
    ],
)
def test_another_head_is_not_taken_for_it(data: bytes) -> None:
    known = RepeatedHead.learn(post(b"abc"), b"/v1/messages?beta=true", scope_of(*HEADERS))
    assert known is not None
    assert known.find(data) is None


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (b"\r\n" + post(b"abc"), HEADERS),  # the parser leaves out what stands before a request
        (post(b"abc")[:-4], HEADERS),
        (post(b"abc").replace(b"\r\nX-Api", b"\nX-Api"), HEADERS),
        (post(b"abc").replace(b"sk", b"s\r\n k"), HEADERS),
        (post(b"abc").replace(b"HTTP/1.1", b"HTTP/1.0"), HEADERS),
        (post(b"abc"), HEADERS[1:]),
        (post(b"abc"), (*HEADERS[:3], (b"accept", b"text/html"))),
        (post(b"abc").replace(b": 3", b": 3 "), HEADERS),
        (post(b"abc").replace(b"Accept: */*", b"Content-Length: 3"), (*HEADERS[:3], HEADERS[2])),
        (
            post(b"abc").replace(b"Accept: */*", b"Expect: 100-continue"),
            (*HEADERS[:3], (b"expect", b"100-continue")),
        ),
        (
            post(b"abc").replace(b"Accept: */*", b"Transfer-Encoding: chunked"),
            (*HEADERS[:3], (b"transfer-encoding", b"chunked")),
        ),
    ],
)
def test_a_head_that_the_bytes_do_not_say_is_not_learnt(
    data: bytes, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    assert RepeatedHead.learn(data, b"/v1/messages?beta=true", scope_of(*headers)) is None


ODD = [
    post(b"chunked?", HEAD.replace(b"Accept: */*", b"Connection: keep-alive")),
    b"POST /v1/messages HTTP/1.1\r\nhost: gateway\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    post(b"expected", HEAD.replace(b"Accept: */*", b"Expect: 100-continue")),
    b"HEAD /v1/models HTTP/1.1\r\nhost: gateway\r\n\r\n",
    b"\r\n" + GET,
]
REQUESTS = [post(b""), post(b"abc"), post(b"x" * 70_000), post(GET), GET, *ODD]


@settings(deadline=None, max_examples=60)
@given(
    chosen=st.lists(st.sampled_from([*REQUESTS[:5] * 2, *REQUESTS]), min_size=1, max_size=8),
    cuts=st.lists(st.integers(1, 700), max_size=6),
    together=st.booleans(),
)
def test_the_application_sees_what_the_parser_would_have_shown(
    chosen: list[bytes], cuts: list[int], together: bool
) -> None:
    """Whatever comes, however it is cut, one request after the other or all at once."""
    pieces = [b"".join(chosen)] if together else chosen
    reads = [part for piece in pieces for part in cut(piece, cuts)]
    told, _ = asyncio.run(seen(reads))
    assert len(told) == len(chosen)
    assert told == asyncio.run(seen(reads, lessons=0))[0]


@pytest.mark.parametrize("known", [GET, post(b"abc")])
async def test_a_known_head_inside_of_another_is_no_request(known: bytes) -> None:
    """Behind a whole request, in the same read, its successor has begun: what comes next belongs to that."""
    reads = [known, known, known + b"POST /v1/other HTTP/1.1\r\nhost: gateway\r\nX: ", known]
    told, lessons = await seen(reads)
    assert lessons == 1
    assert [one["raw_path"] for one in told[:3]] == [told[0]["raw_path"]] * 3
    assert [one["raw_path"] for one in told[3:]] == [b"/v1/other"]
    assert told[3]["headers"][1][0] == b"x"


async def test_a_request_that_would_upgrade_is_left_to_the_parser() -> None:
    upgrading = post(b"upgraded", HEAD.replace(b"Accept: */*", b"Upgrade: h2c\r\nConnection: Upgrade"))
    told, lessons = await seen([upgrading] * 4)
    assert [one["body"] for one in told] == [b"upgraded"] * 4
    assert lessons == 0


async def test_the_word_in_a_body_is_left_alone() -> None:
    """Also where a read begins with the body, or in the middle of it."""
    body = b"a\r\nUpgrade: h2c\r\n\r\nupgrade: b"
    told, _ = await seen([HEAD % len(body), body, HEAD % len(body), body[:1], body[1:]])
    assert [one["body"] for one in told] == [body] * 2


async def test_what_follows_connect_is_no_request() -> None:
    """The parser would take its body for one, which a proxy in front may do otherwise."""
    connect = HEAD.replace(b"POST", b"CONNECT") % len(GET)
    told, lessons = await seen([GET, GET, connect, GET, GET], closes=True)
    assert [one["method"] for one in told] == ["GET", "GET", "CONNECT"]
    assert lessons == 1


@pytest.mark.parametrize("line", [b"x" * 4096, b"x\r\nY: " * 100 + b"z"])
async def test_a_large_head_is_not_learnt(line: bytes) -> None:
    large = post(b"abc", HEAD.replace(b"*/*", line))
    told, lessons = await seen([large] * 4)
    assert [one["body"] for one in told] == [b"abc"] * 4
    assert lessons == 3


async def test_what_lies_behind_the_body_is_the_next_request() -> None:
    told, lessons = await seen([post(b"a"), post(b"b"), post(b"cc") + post(b"ddd") + GET, post(b"e")])
    assert [one["body"] for one in told] == [b"a", b"b", b"cc", b"ddd", b"", b"e"]
    assert lessons


async def test_heads_that_keep_changing_are_left_to_the_parser() -> None:
    reads = [post(b"abc", HEAD.replace(b"*/*", b"text/x-%d" % number)) for number in range(9)]
    told, lessons = await seen(reads)
    assert len(told) == len(reads)
    assert lessons == protocol.LEARNT


def cut(piece: bytes, cuts: list[int]) -> Iterator[bytes]:
    places = sorted({0, len(piece), *(place for place in cuts if place < len(piece))})
    for start, end in pairwise(places):
        yield piece[start:end]


async def seen(
    reads: list[bytes], lessons: int = protocol.LESSONS, *, closes: bool = False
) -> tuple[list[dict[str, Any]], int]:
    """What an application is told of these reads, and how many heads it was tried to learn meanwhile."""
    told: list[dict[str, Any]] = []

    async def tell(scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        names = ("method", "raw_path", "path", "query_string", "http_version", "scheme", "headers", "state")
        told.append({"body": body, **{name: scope[name] for name in names}})
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "LESSONS", lessons)
        async with serving(tell) as server, calling(server) as (_, writer), asyncio.timeout(LONG):
            connection: Any = next(iter(server.server_state.connections))
            for data in reads:
                while closes and server.server_state.tasks:  # noqa: ASYNC110 - likewise
                    await asyncio.sleep(0)
                if connection.transport.is_closing():
                    assert closes
                    break
                before = connection._reads
                writer.write(data)
                while connection._reads == before:  # noqa: ASYNC110 - each is a read of its own
                    await asyncio.sleep(0)
            while server.server_state.tasks:  # noqa: ASYNC110 - uvicorn tells nobody
                await asyncio.sleep(0)
            return told, connection._lessons
