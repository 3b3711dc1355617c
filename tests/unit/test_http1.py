"""What a connection to upstream does over time: kept, cut, held back, given up; in both event loops."""

import asyncio
import contextlib
import os
import socket
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohappyeyeballs
import pytest
import uvloop
from anthropic import APIConnectionError, APITimeoutError

from gateway import pool as module
from gateway.http1 import Connection
from gateway.pool import Answer, Pool
from tests.servers import binary, held_port
from tests.support.raw_server import Certificates, Peer, Play, RawServer, make_certificates, playing, serving

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"content-length: 5\r\n\r\nhello"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
LONG = 60.0
SOON = 20.0

Run = Callable[[Awaitable[Any]], Any]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a coroutine; fails when it leaves a task or a socket behind."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:

        async def watched(work: Awaitable[Any]) -> None:
            before = _sockets()
            others = {held.port for held in before.values() if held.listening}
            await asyncio.wait_for(work, LONG)
            for _ in range(1000):  # the other end of a connection may take a moment to close
                await asyncio.sleep(0.01)
                made = [held for inode, held in _sockets().items() if inode not in before]
                left = [held for held in made if not others & {held.port, held.peer_port}]
                if not left:
                    break
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert left == []

        yield lambda work: runner.run(watched(work))


@dataclass(frozen=True)
class HeldSocket:
    """A TCP socket of this process."""

    port: int
    peer_port: int
    listening: bool


def _sockets() -> dict[str, HeldSocket]:
    """This process' TCP sockets by inode. Servers of other tests, in threads of theirs, have some too."""
    mine = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the folder's own descriptor
            mine.add(str(link.readlink()))
    found = {}
    for table in Path("/proc/self/net").glob("tcp*"):
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()  # number, local and remote address, state, ..., inode
            if f"socket:[{fields[9]}]" in mine:
                ports = (int(address.rpartition(":")[2], 16) for address in fields[1:3])
                found[fields[9]] = HeldSocket(*ports, listening=fields[3] == "0A")
    return found


@contextlib.asynccontextmanager
async def pool_to(play: Play, **options: Any) -> AsyncIterator[tuple[Pool, RawServer]]:
    async with serving(play, **options) as server:
        pool = Pool(server.url)
        try:
            yield pool, server
        finally:
            await pool.close()


async def send(pool: Pool, method: str = "GET", body: Any = None, **options: Any) -> Answer:
    headers = options.pop("headers", {})
    return await pool.send(method, "/x", headers, body, **{"total": None, "silence": LONG, **options})


async def fetch(pool: Pool, method: str = "GET", body: Any = None, **options: Any) -> bytes:
    answer = await send(pool, method, body, **options)
    try:
        return await answer.read()
    finally:
        answer.close()


async def in_chunks(answer: Answer) -> bytes:
    parts = []
    while part := await answer.chunk():
        parts.append(part)
    return b"".join(parts)


async def handed_over(answer: Answer) -> bytes:
    parts: list[bytes] = []
    await answer.pass_on(parts.append)
    return b"".join(parts)


def with_length(body: bytes) -> bytes:
    return OK + b"content-length: %d\r\n\r\n%b" % (len(body), body)


class Numbered:
    """Answers with the number of the connection, once `gate` is set."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self._count = 0
        self._requests: asyncio.Queue[None] = asyncio.Queue()

    async def asked_for(self, requests: int) -> None:
        for _ in range(requests):
            await self._requests.get()

    async def __call__(self, peer: Peer) -> None:
        number = self._count
        self._count += 1
        while await peer.request():
            self._requests.put_nowait(None)
            await self.gate.wait()
            await peer.send(with_length(b"%d" % number))


async def turns() -> None:
    """Let the loop turn: what was closed or cancelled is so for both sides, however late a timer comes."""
    for _ in range(20):
        await asyncio.sleep(0.001)


# --- Connections that are kept


def test_the_connection_used_last_is_used_next(run: Run) -> None:
    async def main() -> None:
        turns = [asyncio.Event() for _ in range(3)]

        async def play(peer: Peer) -> None:
            number = server.peers.index(peer)
            while await peer.request():
                await turns[number].wait()
                await peer.send(with_length(b"%d" % number))

        async with pool_to(play) as (pool, server):
            calls = [asyncio.create_task(fetch(pool)) for _ in turns]
            for number in (2, 0, 1):
                turns[number].set()
                await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
                calls = [call for call in calls if not call.done()]

            assert [await fetch(pool) for _ in range(3)] == [b"1"] * 3

    run(main())


def test_many_at_once_each_get_their_own_answer(run: Run) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            while request := await peer.request():
                await asyncio.sleep(0.01)
                await peer.send(with_length(request.split(b" ")[1]))

        async def one(number: int) -> bytes:
            answer = await pool.send("GET", f"/{number}", {}, None, total=LONG, silence=LONG)
            return await answer.read()

        async with pool_to(play) as (pool, server):
            for _ in range(3):
                bodies = await asyncio.gather(*map(one, range(200)))
                assert bodies == [b"/%d" % number for number in range(200)]
            assert len(server.peers) == 200

    run(main())


def test_idle_connections_are_closed_after_a_while(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 1.0)

    async def main() -> None:
        numbered = Numbered()
        async with pool_to(numbered) as (pool, server):
            numbered.gate.clear()
            calls = [asyncio.create_task(fetch(pool)) for _ in range(2)]
            await numbered.asked_for(2)
            numbered.gate.set()
            await asyncio.gather(*calls)
            used = int(await fetch(pool))
            while not server.peers[1 - used].reader.at_eof():
                await asyncio.sleep(0.05)
                assert int(await fetch(pool)) == used  # which is never idle for as long
            assert len(server.peers) == 2

            while not server.peers[used].reader.at_eof():  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.01)

    run(main())


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_connection_that_upstream_closed_meanwhile_is_not_used(run: Run, method: str) -> None:
    async def main() -> None:
        async with pool_to(playing([HELLO], then_close=True)) as (pool, server):
            for _ in range(3):
                assert await fetch(pool, method) == b"hello"
                await turns()
            assert len(server.peers) == 3

    run(main())


class DiesOnSecond:
    """Closes each connection on its second request, unanswered; once `fresh_die` is set, on its first."""

    def __init__(self, first_bytes: bytes = b"") -> None:
        self.requests = 0
        self.fresh_die = False
        self._first_bytes = first_bytes

    async def __call__(self, peer: Peer) -> None:
        if await peer.request():
            self.requests += 1
            if not self.fresh_die:
                await peer.send(HELLO)
                if await peer.request():
                    self.requests += 1
                    await peer.send(self._first_bytes)
        peer.cut()


@pytest.mark.parametrize(("method", "body"), [("GET", b"hello"), ("HEAD", b"")])
def test_a_get_on_a_dying_connection_is_sent_once_more(run: Run, method: str, body: bytes) -> None:
    """On a new one: the others that were kept may be as dead."""

    async def main() -> None:
        upstream = DiesOnSecond()
        async with pool_to(upstream) as (pool, _):
            assert await asyncio.gather(*(fetch(pool) for _ in range(3))) == [b"hello"] * 3
            assert await fetch(pool, method) == body
            assert upstream.requests == 5

    run(main())


def test_but_once_only(run: Run) -> None:
    async def main() -> None:
        upstream = DiesOnSecond()
        async with pool_to(upstream) as (pool, _):
            await fetch(pool)
            upstream.fresh_die = True
            with pytest.raises(APIConnectionError, match="before an answer"):
                await fetch(pool)
            assert upstream.requests == 3

    run(main())


@pytest.mark.parametrize(
    ("method", "body"), [("POST", b"{}"), ("POST", None), ("DELETE", None), ("GET", b"{}")]
)
def test_what_may_have_cost_something_is_never_sent_again(run: Run, method: str, body: Any) -> None:
    async def main() -> None:
        upstream = DiesOnSecond()
        async with pool_to(upstream) as (pool, _):
            await fetch(pool)
            with pytest.raises(APIConnectionError, match="before an answer"):
                await fetch(pool, method, body)
            assert upstream.requests == 2

    run(main())


def test_nor_is_a_get_of_which_an_answer_began(run: Run) -> None:
    async def main() -> None:
        upstream = DiesOnSecond(b"HTTP/1.1 2")
        async with pool_to(upstream) as (pool, _):
            await fetch(pool)
            with pytest.raises(APIConnectionError, match="broke off"):
                await fetch(pool)
            assert upstream.requests == 2

    run(main())


def test_given_up_when_the_whole_answer_has_just_come(run: Run) -> None:
    """The connection is free by then, and may serve the next call already: it is left alone."""

    async def body() -> None:
        async with pool_to(playing([HELLO])) as (pool, server):
            first = asyncio.create_task(send(pool))
            release = pool._release

            def released(connection: Connection) -> None:
                release(connection)
                first.cancel()

            pool._release = released  # type: ignore[method-assign]
            await asyncio.wait({first})
            assert first.cancelled()
            assert await fetch(pool) == b"hello"
            assert len(server.peers) == 1

    run(body())


def test_an_answer_that_is_whole_is_closed_without_harm(run: Run) -> None:
    async def main() -> None:
        async with pool_to(Numbered()) as (pool, server):
            for _ in range(3):
                (await send(pool)).close()
            assert len(server.peers) == 1

            first = await send(pool)
            second = await send(pool)
            first.close()
            assert await second.read() == b"0"

    run(main())


# --- Calls that are given up


class Watched:
    """Plays something, then waits until the client leaves."""

    def __init__(self, *pieces: bytes, read: bool = True) -> None:
        self.asked = asyncio.Event()
        self._pieces = pieces
        self._read = read
        self._left: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def __call__(self, peer: Peer) -> None:
        if self._read:
            await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(*self._pieces)
        self.asked.set()
        self._left.set_result(await self.until_left(peer))

    async def until_left(self, peer: Peer) -> float:
        return await peer.left()

    async def left(self) -> float:
        return await self._left


class Deaf(Watched):
    """Takes in what its stream reader takes, 128 kB, and no more; its sending tells that it is cut."""

    async def until_left(self, peer: Peer) -> float:
        with contextlib.suppress(ConnectionError, RuntimeError):  # RuntimeError is what uvloop says
            while True:
                await peer.send(b"HTTP/1.1 102 Processing\r\n\r\n")
                await asyncio.sleep(0.005)
        return asyncio.get_running_loop().time()


async def _given_up(work: Awaitable[Any], upstream: Watched) -> None:
    """Cancel the work while it waits; upstream must notice."""
    task = asyncio.ensure_future(work)
    await upstream.asked.wait()
    await asyncio.sleep(0.02)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(upstream.left(), 5)


@pytest.mark.parametrize("pieces", [(), (b"HTTP/1.1 200 O",), (b"HTTP/1.1 100 Continue\r\n\r\n",)])
def test_given_up_while_the_head_is_awaited(run: Run, pieces: tuple[bytes, ...]) -> None:
    async def main() -> None:
        upstream = Watched(*pieces)
        async with pool_to(upstream) as (pool, _):
            await _given_up(fetch(pool, "POST", b"{}"), upstream)

    run(main())


@pytest.mark.parametrize(
    "read", [Answer.read, in_chunks, handed_over], ids=["whole", "in chunks", "handed over"]
)
def test_given_up_while_the_body_is_awaited(run: Run, read: Callable[[Answer], Awaitable[bytes]]) -> None:
    async def main() -> None:
        async def call() -> None:
            answer = await send(pool)
            try:
                await (answer.read() if read is Answer.read else read(answer))
            finally:
                answer.close()

        upstream = Watched(CHUNKED + b"5\r\nhello\r\n")
        async with pool_to(upstream) as (pool, _):
            await _given_up(call(), upstream)

    run(main())


async def _endless(piece: bytes = b"x" * 100_000) -> AsyncIterator[bytes]:
    while True:
        yield piece


def test_given_up_while_upstream_takes_no_more_of_the_body(run: Run) -> None:
    async def main() -> None:
        upstream = Deaf()
        async with pool_to(upstream) as (pool, _):
            await _given_up(send(pool, "POST", _endless()), upstream)

    run(main())


def test_given_up_while_the_caller_sends_no_more_of_the_body(run: Run) -> None:
    ended = []

    async def stalled() -> AsyncIterator[bytes]:
        try:
            yield b"some"
            await asyncio.sleep(LONG)
        finally:
            ended.append("the body")

    async def main() -> None:
        upstream = Watched()
        async with pool_to(upstream) as (pool, _):
            await _given_up(send(pool, "POST", stalled()), upstream)
            assert ended == ["the body"]

    run(main())


def test_given_up_while_the_connection_is_made(run: Run) -> None:
    async def main() -> None:
        upstream = Watched(read=False)
        async with serving(upstream) as server:
            pool = Pool(server.url.replace("http", "https"))  # its greeting is never answered
            await _given_up(fetch(pool), upstream)
            await pool.close()

    run(main())


def test_the_pool_is_closed_over_running_calls(run: Run) -> None:
    async def main() -> None:
        upstream = Watched(CHUNKED + b"5\r\nhello\r\n")
        async with pool_to(upstream) as (pool, _):
            answer = await send(pool)
            assert await answer.chunk() == b"hello"
            await pool.close()
            with pytest.raises(APIConnectionError):
                await asyncio.wait_for(answer.chunk(), SOON)
            await upstream.left()

    run(main())


def test_a_closed_pool_opens_no_connection(run: Run) -> None:
    async def main() -> None:
        async with pool_to(playing([HELLO])) as (pool, server):
            await pool.close()
            with pytest.raises(APIConnectionError):
                await fetch(pool)
            await turns()
            assert server.peers == []

    run(main())


def test_nor_does_one_that_is_closed_while_it_opens_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = aiohappyeyeballs.start_connection

    async def main() -> None:
        gate = asyncio.Event()

        async def slowly(*arguments: Any, **named: Any) -> socket.socket:
            await gate.wait()
            return await connect(*arguments, **named)

        monkeypatch.setattr(aiohappyeyeballs, "start_connection", slowly)
        async with pool_to(playing([HELLO])) as (pool, _):
            call = asyncio.create_task(fetch(pool))
            await turns()
            await pool.close()
            gate.set()
            with pytest.raises(APIConnectionError):
                await call

    run(main())


def test_nothing_is_left_in_the_loop_of_a_closed_pool() -> None:
    """No timer keeps a pool alive that was closed. (uvloop does not tell its timers.)"""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        numbered = Numbered()
        async with pool_to(numbered) as (pool, _):
            await asyncio.gather(*(fetch(pool, total=LONG) for _ in range(5)))
            (await send(pool, silence=LONG)).close()
            numbered.gate.clear()
            with pytest.raises(asyncio.TimeoutError):
                async with asyncio.timeout(0.01):
                    await fetch(pool)
        assert [timer for timer in loop._scheduled if not timer.cancelled()] == []

    asyncio.run(main())


# --- Back-pressure


def test_an_answer_that_nobody_reads_is_held_back(run: Run) -> None:
    size, block = 50_000_000, b"x" * 50_000

    async def main() -> None:
        async def play(peer: Peer) -> None:
            while await peer.request():
                peer.writer.write(OK + b"content-length: %d\r\n\r\n" % size)
                for _ in range(size // len(block)):
                    peer.writer.write(block)
                    await peer.writer.drain()

        async with pool_to(play) as (pool, server):
            tracemalloc.start()
            answer = await send(pool, silence=0.1)
            await asyncio.sleep(0.5)  # five times the silence: it is ours
            held, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert held < 1_000_000

            got = 0
            while part := await answer.chunk():
                got += len(part)
            assert got == size
            assert len(await fetch(pool)) == size
            assert len(server.peers) == 1

    run(main())


def test_upstream_has_all_its_time_again_when_the_reader_has_caught_up(run: Run) -> None:
    silence, much = 1.0, 20_000

    async def main() -> None:
        gate = asyncio.Event()

        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(OK + b"content-length: %d\r\n\r\n" % (much + 1), b"x" * much)
            await gate.wait()
            await peer.send(b"y")

        async with pool_to(play) as (pool, _):
            answer = await send(pool, silence=silence)
            await asyncio.sleep(silence * 1.5)
            assert len(await answer.chunk()) == much
            await asyncio.sleep(silence * 0.6)
            gate.set()
            assert await answer.chunk() == b"y"

    run(main())


@pytest.mark.parametrize("read", ["whole", "in chunks", "handed over"])
def test_a_large_answer_that_came_before_its_reader(run: Run, read: str) -> None:
    async def main() -> None:
        async with pool_to(playing([with_length(b"x" * 3_000_000)])) as (pool, _):
            answer = await send(pool, silence=1)
            await asyncio.sleep(0.1)
            reading = {"in chunks": in_chunks, "handed over": handed_over}.get(read, type(answer).read)
            body = await reading(answer)
            assert len(body) == 3_000_000

    run(main())


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_answers_of_30_mb(run: Run, framing: str) -> None:
    body = os.urandom(3_000_000) * 10
    pieces = [body[at : at + 999_983] for at in range(0, len(body), 999_983)]
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]

    async def main() -> None:
        answer = [with_length(body)] if framing == "length" else [CHUNKED, *chunks, LAST_CHUNK]
        async with pool_to(playing(answer)) as (pool, server):
            assert await fetch(pool) == body
            assert await in_chunks(await send(pool)) == body
            assert len(server.peers) == 1

    run(main())


def test_each_piece_of_a_stream_is_handed_on_when_it_comes(run: Run) -> None:
    async def main() -> None:
        go = asyncio.Event()

        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(CHUNKED)
            for number in range(3):
                await peer.send(b"1\r\n%d\r\n" % number)
                await go.wait()
                go.clear()
            await peer.send(LAST_CHUNK)

        async with pool_to(play) as (pool, _):
            answer = await send(pool)
            for number in range(3):
                assert await asyncio.wait_for(answer.chunk(), SOON) == b"%d" % number
                go.set()
            assert await answer.chunk() == b""
            assert await answer.chunk() == b""

    run(main())


def counting(times: int, pause: float = 0.0) -> Play:
    """Answers with a number a chunk."""

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        for number in range(times):
            await peer.send(b"3\r\n%03d\r\n" % number)
            await asyncio.sleep(pause)
        await peer.send(LAST_CHUNK)

    return play


def numbers(times: int) -> bytes:
    return b"".join(b"%03d" % number for number in range(times))


def test_a_piece_is_handed_over_within_the_read_that_brings_it(run: Run) -> None:
    async def main() -> None:
        async with pool_to(counting(20, pause=0.005)) as (pool, _):
            answer, tasks, parts = await send(pool), [], []

            def handle(piece: bytes) -> None:
                tasks.append(asyncio.current_task())
                parts.append(piece)

            await answer.pass_on(handle)
            assert b"".join(parts) == numbers(20)
            assert tasks.count(None) >= 15  # no task was woken for these

    run(main())


def test_what_comes_while_a_piece_is_waited_for_stays_in_order(run: Run) -> None:
    async def main() -> None:
        async with pool_to(counting(200)) as (pool, _):
            answer, parts = await send(pool), []

            async def slowly(piece: bytes) -> None:
                await asyncio.sleep(0.002)
                parts.append(piece)

            def handle(piece: bytes) -> Awaitable[None] | None:
                if len(parts) % 3 == 1:
                    return slowly(piece)
                parts.append(piece)
                return None

            await answer.pass_on(handle)
            assert b"".join(parts) == numbers(200)

    run(main())


def test_what_the_handler_raises_is_raised_where_the_body_is_awaited(run: Run) -> None:
    async def main() -> None:
        async with pool_to(counting(20, pause=0.005)) as (pool, server):
            answer = await send(pool)
            taken = []

            def handle(piece: bytes) -> None:
                taken.append(piece)
                if len(taken) == 3:
                    raise ValueError("three")

            with pytest.raises(ValueError, match="three"):
                await answer.pass_on(handle)
            answer.close()
            assert len(taken) == 3
            assert len(server.peers) == 1

    run(main())


def test_given_up_with_a_piece_that_waits_to_be_sent(run: Run) -> None:
    async def main() -> None:
        async with pool_to(counting(20, pause=0.005)) as (pool, _):
            answer = await send(pool)
            task = asyncio.ensure_future(_until_given_up(answer))
            with pytest.raises(asyncio.CancelledError):
                await task
            answer.close()

    async def _until_given_up(answer: Answer) -> None:
        task = asyncio.current_task()
        assert task is not None

        async def unsent() -> None:
            await asyncio.sleep(0)

        def handle(_: bytes) -> Awaitable[None]:
            task.cancel()
            return unsent()  # which warns when it is never awaited, nor closed

        await answer.pass_on(handle)

    run(main())


def test_what_came_before_a_break_is_handed_over_first(run: Run) -> None:
    async def breaking(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + b"5\r\nhello\r\n")

    async def main() -> None:
        async with pool_to(breaking) as (pool, _):
            answer, parts = await send(pool), []
            with pytest.raises(APIConnectionError):
                await answer.pass_on(parts.append)
            assert b"".join(parts) == b"hello"

    run(main())


# --- Time


def dribbling(times: int, pause: float, *, then: bytes = LAST_CHUNK) -> Play:
    async def play(peer: Peer) -> None:
        while await peer.request():
            await peer.send(CHUNKED)
            for _ in range(times):
                await asyncio.sleep(pause)
                await peer.send(b"1\r\nx\r\n")
            await peer.send(then)
            if not then:
                await peer.left()

    return play


def test_a_stream_lives_while_bytes_flow(run: Run) -> None:
    async def main() -> None:
        async with pool_to(dribbling(12, 0.1)) as (pool, _):
            assert await in_chunks(await send(pool, silence=1.0)) == b"x" * 12

    run(main())


@pytest.mark.parametrize("play", [dribbling(3, 0.05, then=b""), dribbling(0, 0, then=b"")])
def test_silence_ends_a_stream(run: Run, play: Play) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with pool_to(play) as (pool, server):
            answer = await send(pool, silence=1.0)
            began = loop.time()
            with pytest.raises(APITimeoutError):
                await in_chunks(answer)
            assert 0.15 < loop.time() - began < 10
            async with asyncio.timeout(5):
                while not server.peers[0].reader.at_eof():  # noqa: ASYNC110 - no event tells
                    await asyncio.sleep(0.01)

    run(main())


def test_silence_instead_of_an_answer(run: Run) -> None:
    async def main() -> None:
        upstream = Watched()
        async with pool_to(upstream) as (pool, _):
            with pytest.raises(APITimeoutError):
                await send(pool, silence=0.1)
            await asyncio.wait_for(upstream.left(), 10)

    run(main())


def test_the_whole_of_an_answer_has_its_time(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with pool_to(dribbling(1000, 0.02)) as (pool, _):
            began = loop.time()
            with pytest.raises(APITimeoutError):
                await fetch(pool, total=0.2)
            assert 0.15 < loop.time() - began < 5

    run(main())


def test_time_is_up_while_the_caller_sends_no_more_of_the_body(run: Run) -> None:
    async def stalled() -> AsyncIterator[bytes]:
        yield b"some"
        await asyncio.sleep(LONG)

    async def main() -> None:
        for total in (None, 0.01):
            upstream = Watched()
            async with pool_to(upstream) as (pool, _):
                with pytest.raises(APITimeoutError):
                    await send(pool, "POST", stalled(), total=total, silence=0.1)
                await asyncio.wait_for(upstream.left(), 10)

    run(main())


def test_a_body_that_is_sent_slowly_is_no_silence(run: Run) -> None:
    async def slow() -> AsyncIterator[bytes]:
        for _ in range(12):
            await asyncio.sleep(0.1)
            yield b"x"

    async def main() -> None:
        async with pool_to(_echo) as (pool, _):
            headers = {"content-length": "12"}
            for total in (None, 1.0):  # which begins when the body is sent
                sent = await fetch(pool, "POST", slow(), total=total, silence=1.0, headers=headers)
                assert sent.endswith(b"x" * 12)

    run(main())


# --- Failures before an answer


def _refused(error: APIConnectionError, *hosts: str) -> None:
    assert not isinstance(error, APITimeoutError)
    for host in ("127.0.0.1", "localhost", *hosts):
        assert host not in f"{error} {error.message}"


def test_refused(run: Run) -> None:
    async def main() -> None:
        pool = Pool(f"http://127.0.0.1:{held_port()}")
        with pytest.raises(APIConnectionError, match="ConnectionRefusedError") as failure:
            await fetch(pool)
        _refused(failure.value)
        await pool.close()

    run(main())


def test_a_name_of_no_host(run: Run) -> None:
    async def main() -> None:
        for host in ("upstream.invalid", "a" * 64 + ".example", "upstream..example"):
            pool = Pool(f"http://{host}")
            with pytest.raises(APIConnectionError) as failure:
                await fetch(pool)
            _refused(failure.value, host)
            await pool.close()

    run(main())


def test_a_network_that_cannot_be_reached(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.2)

    async def main() -> None:
        pool = Pool("http://[100::1]:9")  # a network without hosts (RFC 6666)
        with pytest.raises(APIConnectionError) as failure:
            await fetch(pool)
        assert "100::1" not in str(failure.value)
        await pool.close()

    run(main())


@pytest.mark.parametrize(
    ("most", "named"),
    [(0.1, {}), (LONG, {"silence": 0.1}), (LONG, {"total": 0.1})],
    ids=["connecting", "silence", "total"],
)
def test_a_connection_that_takes_too_long(
    run: Run, monkeypatch: pytest.MonkeyPatch, most: float, named: dict[str, float]
) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", most)

    async def main() -> None:
        upstream = Watched(read=False)
        async with serving(upstream) as server:
            pool = Pool(server.url.replace("http", "https"))
            with pytest.raises(APITimeoutError):
                await asyncio.wait_for(fetch(pool, **named), SOON)
            await asyncio.wait_for(upstream.left(), 10)
            await pool.close()

    run(main())


def test_an_upstream_without_tls(run: Run) -> None:
    async def main() -> None:
        async def talk(peer: Peer) -> None:
            await peer.send(HELLO)

        async with serving(talk) as server:
            pool = Pool(server.url.replace("http", "https"))
            with pytest.raises(APIConnectionError, match=r"SSL|Reset") as failure:
                await fetch(pool)
            _refused(failure.value)
            await pool.close()

    run(main())


@pytest.mark.parametrize("other", ["127.0.0.2", "192.0.2.1"], ids=["refuses", "does not answer"])
def test_the_next_address_of_a_host_is_tried(run: Run, monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    """192.0.2.1 is in documentation only (RFC 5737)."""

    async def main() -> None:
        async with serving(playing([HELLO])) as server:
            loop = asyncio.get_running_loop()
            port = int(server.url.rpartition(":")[2])
            (good,) = await loop.getaddrinfo("127.0.0.1", port, type=module.socket.SOCK_STREAM)

            class Resolving:
                def __getattr__(self, name: str) -> Any:
                    return getattr(loop, name)

                async def getaddrinfo(self, *_: Any, **__: Any) -> Any:
                    return [(*good[:4], (other, port)), good]

            pool = Pool(server.url)
            monkeypatch.setattr(pool, "_loop", Resolving())
            began = loop.time()
            assert await fetch(pool) == b"hello"
            assert loop.time() - began < 5  # the system's own patience is of minutes
            await pool.close()

    run(main())


def _has_ipv6() -> bool:
    return Path("/proc/net/if_inet6").exists() and bool(Path("/proc/net/if_inet6").read_text())


def test_ipv6(run: Run) -> None:
    async def main() -> None:
        async with pool_to(_echo, host="::1") as (pool, server):
            echoed = await fetch(pool)
            assert f"host: {server.url.removeprefix('http://')}\r\n".encode() in echoed

    if not _has_ipv6():
        pytest.skip("no IPv6 on this machine")
    run(main())


# --- Answers without end


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (OK + b"x: ", b"y" * 1000),
        (OK, b"x: y\r\n" * 100),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 30),
        (b"", b"HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n" * 30),
        (b"", b"\r\n" * 500),
        (b"HTTP/1.1 200 ", b"x" * 1000),
        (CHUNKED + b"5;", b"x" * 1000),
        (CHUNKED + b"5\r\nhello\r\n0\r\n", b"x: y\r\n" * 100),
        (CHUNKED + b"5\r\nhello\r\n0\r\nx: ", b"y" * 1000),
    ],
    ids=[
        "header",
        "headers",
        "interim",
        "interim with headers",
        "lines",
        "reason",
        "extension",
        "trailers",
        "trailer",
    ],
)
def test_heads_and_tails_without_end_are_cut(run: Run, start: bytes, more: bytes) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(start)
            with contextlib.suppress(ConnectionError):
                while sum(sent) < 50_000_000:
                    peer.writer.write(more)
                    await peer.writer.drain()
                    sent.append(len(more))

        sent: list[int] = []
        async with pool_to(play) as (pool, _):
            with pytest.raises(APIConnectionError, match="too large"):
                await fetch(pool)
            assert sum(sent) < 10_000_000

    run(main())


# --- Requests


async def _echo(peer: Peer) -> None:
    """Answers with the request."""
    while request := await peer.request():
        await peer.send(with_length(request))


def test_the_bytes_of_requests(run: Run) -> None:
    async def main() -> None:
        async with pool_to(_echo) as (pool, server):
            host = f"host: {server.url.removeprefix('http://')}\r\n".encode()
            assert await fetch(pool) == b"GET /x HTTP/1.1\r\n" + host + b"\r\n"
            assert await fetch(pool, "DELETE") == b"DELETE /x HTTP/1.1\r\n" + host + b"\r\n"
            for body in (None, b""):
                empty = b"POST /x HTTP/1.1\r\n" + host + b"content-length: 0\r\n\r\n"
                assert await fetch(pool, "POST", body) == empty
            given = await fetch(pool, "POST", b"{}", headers={"x-a": "grüße", "x-b": "2"})
            wanted = "x-a: grüße\r\nx-b: 2\r\ncontent-length: 2\r\n\r\n{}".encode()
            assert given == b"POST /x HTTP/1.1\r\n" + host + wanted
            answer = await pool.send("GET", "/a%2Fb?c=d%20\xfc", {}, None, total=1, silence=1)
            assert (await answer.read()).startswith(b"GET /a%2Fb?c=d%20\xfc HTTP/1.1\r\n")
            assert len(server.peers) == 1

    run(main())


def test_the_prefix_of_the_base_url(run: Run) -> None:
    async def main() -> None:
        async with serving(_echo) as server:
            pool = Pool(server.url + "/anthropic/")
            assert (await fetch(pool)).startswith(b"GET /anthropic/x HTTP/1.1\r\n")
            await pool.close()

    run(main())


@pytest.mark.parametrize("value", ["a\r\nx-forged: 1", "a\nb", "a\rb", "a\0b", "a\n"])
def test_headers_that_would_forge_a_request(run: Run, value: str) -> None:
    async def main() -> None:
        async with pool_to(_echo) as (pool, server):
            with pytest.raises(APIConnectionError, match="header"):
                await fetch(pool, headers={"x-api-key": value})
            assert server.peers == []

    run(main())


@pytest.mark.parametrize("size", [1, 65_536, module.LARGE_BODY, module.LARGE_BODY + 1, 10_000_000])
def test_bodies_of_any_size(run: Run, size: int) -> None:
    body = os.urandom(1000) * (size // 1000 + 1)
    body = body[:size]

    async def main() -> None:
        async with pool_to(_echo) as (pool, server):
            for _ in range(2):
                assert (await fetch(pool, "POST", body)).partition(b"\r\n\r\n")[2] == body
            assert len(server.peers) == 1

    run(main())


async def _pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
        await asyncio.sleep(0)


def test_a_body_in_pieces_with_a_length(run: Run) -> None:
    async def main() -> None:
        async with pool_to(_echo) as (pool, server):
            for _ in range(2):
                body = _pieces(b"ab", b"", b"cd", b"e")
                echoed = await fetch(pool, "POST", body, headers={"content-length": "5"})
                assert echoed.endswith(b"content-length: 5\r\n\r\nabcde")
                assert b"chunked" not in echoed
            assert len(server.peers) == 1

    run(main())


def test_a_body_in_chunks(run: Run) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            while await peer.request():
                received.append(await peer.reader.readuntil(b"0\r\n\r\n"))
                await peer.send(HELLO)

        received: list[bytes] = []
        async with pool_to(play) as (pool, server):
            for _ in range(2):
                await fetch(pool, "POST", _pieces(b"ab", b"", b"c" * 16))
            assert received == [b"2\r\nab\r\n10\r\n" + b"c" * 16 + b"\r\n0\r\n\r\n"] * 2
            assert len(server.peers) == 1

    run(main())


@pytest.mark.parametrize("pieces", [(b"hello", b" worl"), (b"hello", b" world", b"!"), ()])
def test_a_body_of_another_length_than_announced(run: Run, pieces: tuple[bytes, ...]) -> None:
    """And not one byte more than was announced is sent, as upstream would take it for another request."""

    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                received.append(await peer.reader.read(-1))

        received: list[bytes] = []
        async with pool_to(play) as (pool, _):
            with pytest.raises(APIConnectionError, match="announced"):
                await send(pool, "POST", _pieces(*pieces), headers={"content-length": "11"})
            await turns()
            assert all(b"hello world".startswith(body) for body in received)

    run(main())


@pytest.mark.parametrize("error", [RuntimeError, ValueError, OSError, TimeoutError, asyncio.CancelledError])
@pytest.mark.parametrize("headers", [{}, {"content-length": "100"}], ids=["chunked", "length"])
def test_a_body_that_raises(run: Run, error: type[BaseException], headers: dict[str, str]) -> None:
    """Its error comes out as it is, and upstream sees a request that breaks off."""

    async def raising() -> AsyncIterator[bytes]:
        yield b"half"
        await asyncio.sleep(0.01)
        raise error("the caller's own")

    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                received.append(await peer.reader.read(-1))

        received: list[bytes] = []
        async with pool_to(play) as (pool, _):
            expected = APIConnectionError if error is asyncio.CancelledError else error
            with pytest.raises(expected) as raised:
                await send(pool, "POST", raising(), headers=headers)
            assert type(raised.value) is error or error is asyncio.CancelledError
            await turns()
            assert not any(body.endswith(LAST_CHUNK) for body in received)

    run(main())


def test_an_answer_that_comes_before_the_end_of_the_body(run: Run) -> None:
    """A refusal reaches a caller who is slow to send, and the rest is not waited for."""
    ended = []

    async def stalled() -> AsyncIterator[bytes]:
        try:
            yield b"some"
            await asyncio.sleep(LONG)
        finally:
            ended.append("the body")

    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlarge")
            await peer.left()

        async with pool_to(play) as (pool, server):
            for body in (stalled(), stalled()):
                answer = await asyncio.wait_for(send(pool, "POST", body), SOON)
                assert (answer.status, await answer.read()) == (413, b"large")
            await turns()
            assert ended == ["the body"] * 2
            assert len(server.peers) == 2  # a request that was not sent whole spoils its connection

    run(main())


def test_a_body_is_sent_on_while_its_answer_begins(run: Run) -> None:
    async def main() -> None:
        begun = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b"first"
            await begun.wait()
            yield b"second"

        async def play(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            await peer.send(CHUNKED)
            received = await peer.reader.readexactly(11)
            await peer.send(b"b\r\n" + received + b"\r\n" + LAST_CHUNK)

        async with pool_to(play) as (pool, _):
            answer = await send(pool, "POST", body(), headers={"content-length": "11"})
            begun.set()
            assert await answer.read() == b"firstsecond"

    run(main())


@pytest.mark.parametrize("size", [module.LARGE_BODY, 30_000_000])
def test_a_large_body_that_upstream_does_not_take_in(
    run: Run, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer comes, but no other request follows what is still on its way."""

    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await peer.send(HELLO)
            await asyncio.sleep(0.2)

        async with pool_to(play) as (pool, server):
            assert await fetch(pool, "POST", b"x" * size) == b"hello"
            assert await fetch(pool, "POST", b"{}") == b"hello"
            assert len(server.peers) == 2

    def with_little_room(connection: Connection, transport: Any) -> None:
        """The kernel would take in a megabyte on the loopback."""
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        made(connection, transport)

    made = Connection.connection_made
    monkeypatch.setattr(Connection, "connection_made", with_little_room)
    run(main())


def test_upstream_dies_while_the_caller_sends_no_more_of_the_body(run: Run) -> None:
    async def stalled() -> AsyncIterator[bytes]:
        yield b"some"
        await asyncio.sleep(LONG)

    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            peer.cut()

        async with pool_to(play) as (pool, _):
            with pytest.raises(APIConnectionError):
                await asyncio.wait_for(send(pool, "POST", stalled()), SOON)

    run(main())


# --- Proxies


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("https://api.example", {}, None),
        ("https://api.example", {"HTTPS_PROXY": "http://proxy:1"}, "http://proxy:1"),
        ("https://api.example", {"https_proxy": "http://user:word@proxy:1"}, "http://user:word@proxy:1"),
        ("https://api.example", {"HTTPS_PROXY": "proxy:1"}, "http://proxy:1"),
        ("https://api.example", {"HTTP_PROXY": "http://proxy:1"}, None),
        ("http://api.example", {"HTTP_PROXY": "http://proxy:1"}, "http://proxy:1"),
        ("https://api.example", {"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": ".example"}, None),
        ("https://api.example", {"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "*"}, None),
        ("https://api.example", {"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "other"}, "http://proxy:1"),
    ],
)
def test_proxy_for(
    monkeypatch: pytest.MonkeyPatch, url: str, environment: dict[str, str], proxy: str | None
) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert module.proxy_for(url) == proxy


# --- TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"), binary("openssl"))


@pytest.fixture
def tls(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """What the server needs; the pool trusts it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    return certificates.server_context()


def test_over_tls(run: Run, tls: ssl.SSLContext) -> None:
    body = os.urandom(1_000_000) * 8

    async def main() -> None:
        async with pool_to(_echo, tls=tls) as (pool, server):
            for _ in range(2):
                assert (await fetch(pool, "POST", body)).endswith(body)
                assert (await fetch(pool, "POST", b"{}")).endswith(b"{}")
            assert len(server.peers) == 1

    run(main())


def test_idle_and_given_up_over_tls(run: Run, tls: ssl.SSLContext) -> None:
    async def main() -> None:
        async with pool_to(playing([HELLO], then_close=True), tls=tls) as (pool, server):
            for _ in range(3):
                assert await fetch(pool, "POST") == b"hello"
                await turns()
            assert len(server.peers) == 3

        upstream = Watched()
        async with pool_to(upstream, tls=tls) as (pool, _):
            await _given_up(fetch(pool), upstream)

    run(main())


@pytest.mark.parametrize("run", ["uvloop"], indirect=True)  # the other loop does not tell the difference
def test_an_answer_that_somebody_cut_off_is_not_whole(run: Run, tls: ssl.SSLContext) -> None:
    """Without TLS's own goodbye the end may be forged (RFC 9112 §9.8)."""

    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(OK + b"\r\nhel")
            await asyncio.sleep(0.05)
            peer.cut()

        async with pool_to(play, tls=tls) as (pool, _):
            with pytest.raises(APIConnectionError):
                await fetch(pool)

    run(main())
