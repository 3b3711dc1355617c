"""Answers that come through a proxy, in every framing, whole and broken."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anthropic import APIConnectionError, APITimeoutError

from gateway.pool import LARGE_BODY, Answer
from gateway.pool_proxied import ProxiedPool
from tests.support.raw_server import Peer, serving
from tests.support.recorder import CLOSE, LAST_CHUNK, Gate, Recorder, Step, answer, chunk, head, stream

SILENCE = 0.5
LONG = 60.0
BODY = b'{"text":"0123456789"}'
LENGTH = ("content-length", str(len(BODY)))
CHUNKED = ("transfer-encoding", "chunked")
WHOLE = answer(body=BODY)[0]
IN_CHUNKS = b"".join(part for part in stream(BODY[:5], BODY[5:]) if isinstance(part, bytes))

GOOD: dict[str, list[Step]] = {
    "joined": [WHOLE],
    "head and body apart": [head(200, [LENGTH]), 0.02, BODY],
    "body in halves": [head(200, [LENGTH]) + BODY[:4], 0.02, BODY[4:]],
    "byte by byte": [bytes([byte]) for byte in WHOLE],
    "chunked": [IN_CHUNKS],
    "chunked byte by byte": [bytes([byte]) for byte in IN_CHUNKS],
    "last chunk joined": [head(200, [CHUNKED]), 0.02, chunk(BODY) + LAST_CHUNK],
    "last chunk apart": [head(200, [CHUNKED]), chunk(BODY), 0.02, LAST_CHUNK],
    "last chunk in halves": [head(200, [CHUNKED]), chunk(BODY) + b"0\r\n", 0.02, b"\r\n"],
    "chunk extensions": [head(200, [CHUNKED]) + b"15;a=b\r\n" + BODY + b"\r\n0;c\r\n\r\n"],
    "trailers": [head(200, [CHUNKED]) + chunk(BODY) + b"0\r\nx-sum: 1\r\nx-more: 2\r\n\r\n"],
    "until the end of the connection": [head(200, []), BODY[:3], 0.02, BODY[3:], CLOSE],
    "HTTP/1.0": [b"HTTP/1.0 200 OK\r\n\r\n" + BODY, CLOSE],
    "closing": [head(200, [LENGTH, ("connection", "close")]) + BODY, CLOSE],
    "continue first": [b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE],
    "early hints first": [head(103, [("link", "</a>")]), 0.02, WHOLE],
    "two interim answers": [b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n", WHOLE],
    "no reason": [b"HTTP/1.1 200\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY],
    "odd spaces": [b"HTTP/1.1 200 OK\r\nContent-Length:   %d  \r\nX-A:b\r\n\r\n" % len(BODY) + BODY],
    "many headers": [head(200, [LENGTH, *((f"x-{number}", "v" * 100) for number in range(60))]) + BODY],
}
EMPTY: dict[str, list[Step]] = {
    "204": [head(204, [])],
    "no body": [head(200, [("content-length", "0")])],
    "no chunks": [head(200, [CHUNKED]) + LAST_CHUNK],
}
BROKEN: dict[str, list[Step]] = {
    "closed at once": [CLOSE],
    "closed inside the head": [b"HTTP/1.1 200 OK\r\ncontent", CLOSE],
    "closed after the head": [head(200, [LENGTH]), CLOSE],
    "closed inside the body": [head(200, [LENGTH]) + BODY[:5], 0.02, CLOSE],
    "closed between chunks": [head(200, [CHUNKED]) + chunk(BODY), 0.02, CLOSE],
    "closed inside a chunk": [head(200, [CHUNKED]) + chunk(BODY)[:9], 0.02, CLOSE],
    "no HTTP": [b"SSH-2.0-OpenSSH\r\n", CLOSE],
    "no status": [b"HTTP/1.1 abc OK\r\n\r\n", CLOSE],
    "header without a colon": [b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", CLOSE],
    "length that is no number": [head(200, [("content-length", "x")]) + BODY, CLOSE],
    "two lengths": [head(200, [LENGTH, ("content-length", "3")]) + BODY, CLOSE],
    "chunk size that is no number": [head(200, [CHUNKED]), 0.02, b"zz\r\n", CLOSE],
    "headers without end": [b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 40_000, CLOSE],
}

Outcome = tuple[int, bytes] | str


class Proxied:
    """The pool, read whole or chunk by chunk."""

    def __init__(self, proxy: str, read: Callable[[Answer], Any]) -> None:
        self.pool = ProxiedPool("http://upstream.test/prefix", proxy)
        self._read = read

    async def fetch(self) -> Outcome:
        try:
            got = await self.pool.send("GET", "/a%2Fb%7e?x=%20%5f", {}, None, total=None, silence=SILENCE)
        except APIConnectionError:
            return "broken"
        try:
            return got.status, await self._read(got)
        except APIConnectionError:
            return "broken"
        finally:
            got.close()


async def whole(got: Answer) -> bytes:
    return await got.read()


async def piecewise(got: Answer) -> bytes:
    body = b""
    while part := await got.chunk():
        body += part
    return body


@pytest.fixture
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(params=[whole, piecewise])
async def client(request: pytest.FixtureRequest, upstream: Recorder) -> AsyncIterator[Proxied]:
    made = Proxied(upstream.url, request.param)
    async with closing(made.pool):
        yield made


@pytest.fixture
async def pool(upstream: Recorder) -> AsyncIterator[ProxiedPool]:
    async with closing(ProxiedPool("http://upstream.test", upstream.url)) as made:
        yield made


@asynccontextmanager
async def closing(pool: ProxiedPool) -> AsyncIterator[ProxiedPool]:
    yield pool
    await pool.close()
    await asyncio.sleep(0.01)  # aiohttp closes its sockets a little later


async def test_every_framing_twice_on_one_client(upstream: Recorder, client: Proxied) -> None:
    for name, steps in (GOOD | EMPTY).items():
        for _ in range(2):
            upstream.script(steps)
            expected = (204 if name == "204" else 200, b"" if name in EMPTY else BODY)
            assert await client.fetch() == expected, name


async def test_the_target_is_asked_of_the_proxy_as_it_is(upstream: Recorder, client: Proxied) -> None:
    await client.fetch()

    assert upstream.only.target == "http://upstream.test/prefix/a%2Fb%7e?x=%20%5f"
    assert upstream.only.header("host") == "upstream.test"


@pytest.mark.parametrize("steps", BROKEN.values(), ids=BROKEN)
async def test_broken_answers(upstream: Recorder, client: Proxied, steps: list[Step]) -> None:
    """And the next request finds a good connection."""
    upstream.reply = lambda _: steps
    assert await asyncio.wait_for(client.fetch(), 20) == "broken"
    upstream.reset()
    upstream.script(GOOD["joined"])
    assert await client.fetch() == (200, BODY)


@pytest.mark.parametrize("steps", [[Gate()], [head(200, [LENGTH]), Gate()]], ids=["no head", "no body"])
async def test_silence(upstream: Recorder, client: Proxied, steps: list[Step]) -> None:
    upstream.script(steps)

    assert await asyncio.wait_for(client.fetch(), 20) == "broken"

    await asyncio.to_thread(upstream.only.wait_until_left)


@pytest.mark.parametrize("steps", [[Gate()], [head(200, []), Gate()]], ids=["no answer", "no handshake"])
@pytest.mark.parametrize("total", [None, SILENCE])
async def test_a_tunnel_that_is_never_made(
    upstream: Recorder, steps: list[Step], total: float | None
) -> None:
    """To an upstream with TLS, a proxy that stands still holds up a stream no longer than upstream may."""
    upstream.script(steps)
    async with closing(ProxiedPool("https://upstream.test", upstream.url)) as pool:
        with pytest.raises(APITimeoutError):
            await asyncio.wait_for(pool.send("GET", "/", {}, None, total=total, silence=SILENCE), 20)

    assert upstream.only.method == "CONNECT"


async def test_nothing_is_added_to_what_is_sent(upstream: Recorder, pool: ProxiedPool) -> None:
    """No header of aiohttp's own, and no cookie that came with the answer to another caller."""
    upstream.reply = lambda _: answer(headers=[("set-cookie", "a=b; path=/")])
    bodies = [b"{}", b"", b"x" * (LARGE_BODY + 1)]
    for body in bodies:
        (await pool.send("POST", "/", {"x-a": "b"}, body, total=None, silence=LONG)).close()

    assert [request.body for request in upstream.requests] == bodies
    for request in upstream.requests:
        assert {name for name, _ in request.headers} == {"host", "x-a", "content-length"}


async def test_an_answer_is_handed_on_as_it_came(upstream: Recorder, pool: ProxiedPool) -> None:
    packed = gzip.compress(BODY)
    upstream.script(answer(body=packed, headers=[("Content-Encoding", "gzip"), ("Request-Id", "req_u")]))
    got = await pool.send("GET", "/", {}, None, total=None, silence=LONG)

    assert await got.read() == packed
    assert {(b"content-encoding", b"gzip"), (b"request-id", b"req_u")} <= set(got.headers)


async def test_a_redirect_is_an_answer(upstream: Recorder, pool: ProxiedPool) -> None:
    upstream.script(answer(307, headers=[("location", "http://elsewhere.test/")]))
    got = await pool.send("POST", "/", {}, b"{}", total=None, silence=LONG)
    got.close()

    assert got.status == 307
    assert len(upstream.requests) == 1


async def test_many_at_once(upstream: Recorder, pool: ProxiedPool) -> None:
    """aiohttp would let a hundred through by itself, and the others wait."""
    gate, many = Gate(), 110
    upstream.reply = lambda _: [gate, WHOLE]
    async with asyncio.TaskGroup() as group:
        for _ in range(many):
            group.create_task(pool.send("GET", "/", {}, None, total=None, silence=LONG))
        await asyncio.to_thread(upstream.wait_for, many)
        gate.open()


async def test_a_body_that_is_sent_slowly_is_no_silence(upstream: Recorder, pool: ProxiedPool) -> None:
    """But one that stands still is, and so is an answer that does not come."""

    async def pieces(*waits: float) -> AsyncIterator[bytes]:
        for wait in waits:
            await asyncio.sleep(wait)
            yield b"x"

    async def send(*waits: float) -> Answer:
        return await pool.send("POST", "/", {}, pieces(*waits), total=SILENCE, silence=SILENCE)

    (await send(*[SILENCE / 10] * 15)).close()
    assert upstream.only.body == b"x" * 15
    with pytest.raises(APITimeoutError):
        await send(0, LONG)
    upstream.script([Gate()])
    with pytest.raises(APITimeoutError):
        await asyncio.wait_for(send(0), 20)


async def test_a_body_goes_on_while_its_answer_comes(upstream: Recorder) -> None:
    gate, went = asyncio.Event(), []

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"x"
            went.append(number)
            await gate.wait()

    async def early(peer: Peer) -> None:
        await peer.reader.readuntil(b"x")
        await peer.send(head(200, [CHUNKED]))
        await peer.reader.readuntil(b"0\r\n\r\n")
        await peer.send(chunk(BODY) + LAST_CHUNK)

    async with serving(early) as proxy, closing(ProxiedPool("http://upstream.test", proxy.url)) as pool:
        got = await pool.send("POST", "/", {}, pieces(), total=LONG, silence=LONG)
        gate.set()
        assert await got.read() == BODY
        assert went == [0, 1, 2]
