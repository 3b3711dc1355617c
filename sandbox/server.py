"""A sandbox on a real socket."""

import asyncio
import concurrent.futures
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from uvicorn.loops.auto import auto_loop_factory
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from sandbox.app import Sandbox
from sandbox.settings import Settings

_KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than a caller's pool is likely to keep it."""
_GRACE = 1.0
"""Seconds that calls under way have when the sandbox stops."""


@asynccontextmanager
async def serve(
    host: str = "127.0.0.1", port: int = 0, *, settings: Settings | None = None
) -> AsyncIterator[str]:
    """Serves a sandbox on the running loop for as long as the context lasts; yields its base URL.

    On the caller's own loop and not in a thread: of two busy threads each waits up to 5 ms for the
    interpreter. uvicorn's protocol is used without its `Server`, which would take the program's signals.

    Args:
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        settings: durations and bounds.

    Raises:
        OSError: the address is taken, or not ours.
    """
    sandbox = Sandbox(settings)
    config = uvicorn.Config(
        sandbox,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
    )
    config.load()
    state = ServerState()
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    server = await asyncio.get_running_loop().create_server(
        lambda: HttpToolsProtocol(config, state, {}), sock=listener, backlog=config.backlog
    )
    try:
        yield f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        await _finish(state)
        for connection in list(state.connections):
            connection.transport.abort()  # a call that still waits takes this for its caller's leaving
        await _finish(state)
        await sandbox.close()


async def _finish(state: ServerState) -> None:
    if state.tasks:
        await asyncio.wait(state.tasks, timeout=_GRACE)


@contextmanager
def serve_in_thread(
    host: str = "127.0.0.1", port: int = 0, *, settings: Settings | None = None
) -> Iterator[str]:
    """`serve` for callers without a loop: a thread with its own. Same arguments, same errors."""
    started: concurrent.futures.Future[str] = concurrent.futures.Future()
    stop = asyncio.Event()

    async def run() -> None:
        try:
            async with serve(host, port, settings=settings) as url:
                started.set_result(url)
                await stop.wait()
        except OSError as error:
            started.set_exception(error)

    loop = new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), name="sandbox")
    thread.start()
    try:
        yield started.result()
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed, else the standard one."""
    return auto_loop_factory()()
