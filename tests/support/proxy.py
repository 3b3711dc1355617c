"""A TCP proxy in a thread, which can be gone for a while: what is behind it is then gone too."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

from tests.servers import hold

DEADLINE = 10.0


class Proxy:
    """Passes connections on to a port of this machine. Made by `proxied`."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._held = hold()  # nobody else gets the port while the proxy is gone
        self.port = int(self._held.getsockname()[1])

    @contextlib.contextmanager
    def gone(self) -> Iterator[None]:
        """Cut all connections, and refuse new ones meanwhile."""
        self.run(self._close())
        try:
            yield
        finally:
            self.run(self._listen())

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the proxy's loop."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        self.run(self._listen())

    def stop(self) -> None:
        """End for good."""
        self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._held.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _close(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        behind = None
        try:
            its_reader, behind = await asyncio.open_connection("127.0.0.1", self._behind)
            await asyncio.gather(_pass(reader, behind), _pass(its_reader, writer))
        except (OSError, asyncio.CancelledError):
            return  # one of the two has left, or the proxy is gone
        finally:
            self._tasks.discard(task)
            for side in (writer, behind):
                if side is not None:
                    side.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    raise ConnectionResetError


@contextlib.contextmanager
def proxied(port: int) -> Iterator[Proxy]:
    """A proxy before a port, as long as the context lasts."""
    proxy = Proxy(port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
