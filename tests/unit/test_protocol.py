"""How long idle and slow connections are kept; tests/faults/test_callers.py has those who stand still."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import GatewayError
from gateway.protocol import look_at, patient

KEEP_ALIVE = 75
PATIENCE = 20
LONG = 10.0


@pytest.mark.parametrize(("asks", "kept"), [(0, PATIENCE), (1, KEEP_ALIVE), (3, KEEP_ALIVE)])
async def test_an_idle_connection_is_let_go_of(asks: int, kept: int) -> None:
    """One that never asked sooner than others; each request begins the time anew."""
    async with serving() as server, calling(server) as (reader, writer):
        connections = server.server_state.connections
        now = 1000
        for asked in range(asks + 1):
            if asked:
                await ask(reader, writer)
            look_at(connections, now)
            now += (kept if asked == asks else PATIENCE) - 1
            look_at(connections, now)
        assert not next(iter(connections)).transport.is_closing()
        look_at(connections, now + 1)
        assert await asyncio.wait_for(reader.read(), LONG) == b""
        assert server.server_state.total_requests == asks


async def test_an_answer_that_is_read_slowly_is_not_cut_off() -> None:
    """But one that is not read at all is."""
    size = 30_000_000

    async def much(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * size})

    async with serving(much) as server, calling(server) as (reader, writer):
        connection: Any = next(iter(server.server_state.connections))
        writer.write(b"GET / HTTP/1.1\r\nhost: gateway\r\n\r\n")
        left = size
        for now in range(0, 5 * PATIENCE, PATIENCE):
            async with asyncio.timeout(LONG):
                while not 0 < connection.transport.get_write_buffer_size() < left:
                    await reader.read(1 << 16)
            left = connection.transport.get_write_buffer_size()
            connection.look(now)
            assert not connection.transport.is_closing()

        refused: list[GatewayError] = []
        connection._refused = refused.append
        connection.look(now + PATIENCE)
        assert connection.transport.is_closing()
        assert [error.message for error in refused] == ["the answer did not move"]


async def test_a_body_that_is_not_asked_for_is_not_waited_for() -> None:
    """Who sends it cannot move while it is held back."""
    gate = asyncio.Event()

    async def later(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        while (await receive()).get("more_body"):
            pass
        await _hello(scope, receive, send)

    async with serving(later) as server, calling(server) as (reader, writer):
        connection: Any = next(iter(server.server_state.connections))
        body = b"x" * 1_000_000
        writer.write(b"POST / HTTP/1.1\r\nhost: gateway\r\ncontent-length: %d\r\n\r\n" % len(body))
        writer.write(body)
        async with asyncio.timeout(LONG):
            while not connection.flow.read_paused:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)
        connection.look(0)
        try:
            connection.look(2 * PATIENCE)
        finally:
            gate.set()
        assert (await asyncio.wait_for(reader.readuntil(b"hello"), LONG)).startswith(b"HTTP/1.1 200 ")


async def test_a_large_body_that_came_at_once_does_not_stop_the_reading() -> None:
    """A caller who hangs up would not be noticed."""
    paused: list[bool] = []

    async def take(scope: Scope, receive: Receive, send: Send) -> None:
        paused.append(connection.flow.read_paused)
        assert (await receive())["body"] == body
        paused.append(connection.flow.read_paused)
        await _hello(scope, receive, send)

    async with serving(take) as server, calling(server) as (reader, _):
        connection: Any = next(iter(server.server_state.connections))
        body = b"x" * 200_000
        head = b"POST / HTTP/1.1\r\nhost: gateway\r\ncontent-length: %d\r\n\r\n" % len(body)
        connection.data_received(head + body)
        await asyncio.wait_for(reader.readuntil(b"hello"), LONG)
    assert paused == [True, False]


async def test_what_nobody_took_of_a_body_does_not_stop_the_next_request() -> None:
    body = b"x" * 1_000_000

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        while scope["method"] == "POST" and not connection.flow.read_paused:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)
        await _hello(scope, receive, send)

    async with serving(late) as server, calling(server) as (reader, writer):
        connection: Any = next(iter(server.server_state.connections))
        writer.write(b"POST / HTTP/1.1\r\nhost: gateway\r\ncontent-length: %d\r\n\r\n" % len(body))
        writer.write(body)
        await asyncio.wait_for(reader.readuntil(b"hello"), LONG)
        await ask(reader, writer)


async def test_a_request_that_comes_before_the_answer_to_the_one_before_waits_for_it() -> None:
    """Also where its head is known already."""
    gate, begun = asyncio.Event(), asyncio.Semaphore(0)

    async def slowly(scope: Scope, receive: Receive, send: Send) -> None:
        begun.release()
        await gate.wait()
        await _hello(scope, receive, send)

    async with serving(slowly) as server, calling(server) as (reader, writer):
        connection: Any = next(iter(server.server_state.connections))
        gate.set()
        while not connection._known:
            await ask(reader, writer)
            await asyncio.wait_for(begun.acquire(), LONG)
        gate.clear()
        try:
            for _ in range(2):
                before = connection._reads
                writer.write(b"GET / HTTP/1.1\r\nhost: gateway\r\n\r\n")
                async with asyncio.timeout(LONG):
                    while connection._reads == before:  # noqa: ASYNC110 - each is a read of its own
                        await asyncio.sleep(0)
            await asyncio.wait_for(begun.acquire(), LONG)
            await asyncio.sleep(0)
            assert begun.locked()
        finally:
            gate.set()
        for _ in range(2):
            await asyncio.wait_for(reader.readuntil(b"hello"), LONG)


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET / HTTP/1.1\r\nhost: gateway\r\n\r\n")
    answer = await asyncio.wait_for(reader.readuntil(b"hello"), LONG)
    assert answer.startswith(b"HTTP/1.1 200 ")


@asynccontextmanager
async def serving(app: ASGIApp | None = None) -> AsyncIterator[uvicorn.Server]:
    http = patient(PATIENCE, _refused)
    config = uvicorn.Config(
        app or _hello, port=0, interface="asgi3", http=http, lifespan="off", log_config=None
    )
    config.timeout_keep_alive = KEEP_ALIVE
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        yield server
    finally:
        await server.shutdown()


@asynccontextmanager
async def calling(server: uvicorn.Server) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*server.servers[0].sockets[0].getsockname())
    async with asyncio.timeout(LONG):
        while not server.server_state.connections:  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(0.001)
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


async def _hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


def _refused(error: GatewayError) -> None:
    raise AssertionError(f"refused: {error}")
