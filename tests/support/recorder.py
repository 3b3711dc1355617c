"""An upstream that keeps every byte it is sent and answers with bytes by script, in any framing."""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.servers import hold
from tests.support.raw_server import BACKLOG, abort

DEADLINE = 10.0
READ_SIZE = 1 << 16

Headers = Sequence[tuple[str, str]]


class Gate:
    """A step that waits until the test opens it."""

    def __init__(self) -> None:
        self._opened = threading.Event()

    def open(self) -> None:
        self._opened.set()

    async def passed(self) -> None:
        while not self._opened.is_set():  # noqa: ASYNC110 - set from another thread
            await asyncio.sleep(0.005)


class Close:
    """A step that closes the connection where the answer stands."""


class Reset:
    """A step that resets the connection: the other side reads an error, not an end."""


CLOSE = Close()
RESET = Reset()
Step = bytes | float | Gate | Close | Reset
"""Bytes are sent, a number is seconds to wait."""


@dataclass(eq=False)
class Received:
    """One request as it came.

    `left` is when its caller hung up before the answer was out (`time.monotonic`), `sent` counts the bytes
    that were answered.
    """

    head: bytes
    body: bytes = b""
    left: float | None = None
    finished: bool = False
    sent: int = 0
    _events: threading.Condition = field(default_factory=threading.Condition, repr=False)

    @property
    def request_line(self) -> bytes:
        return self.head.split(b"\r\n", 1)[0]

    @property
    def method(self) -> str:
        return self.request_line.split(b" ")[0].decode()

    @property
    def target(self) -> str:
        return self.request_line.split(b" ")[1].decode("latin-1")

    @property
    def headers(self) -> list[tuple[str, str]]:
        """All headers in their order, names in lower case."""
        lines = self.head.split(b"\r\n")[1:]
        pairs = (line.decode("latin-1").partition(":") for line in lines if line)
        return [(name.lower(), value.strip()) for name, _, value in pairs]

    def header(self, name: str) -> str | None:
        """The only value of a header. Two of one name fail the test that asks."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, f"{name} was sent {len(values)} times"
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)

    def wait_until_left(self, timeout: float = DEADLINE) -> float:
        """When the caller hung up; fails when it does not."""
        with self._events:
            assert self._events.wait_for(lambda: self.left is not None, timeout), "the caller did not hang up"
        assert self.left is not None
        return self.left

    def note(self, **changes: Any) -> None:
        with self._events:
            for name, value in changes.items():
                setattr(self, name, value)
            self._events.notify_all()


class Recorder:
    """The server, on a loop in a thread of its own. Use it as a context manager.

    `requests` are those that came since the last `reset`, `connections` counts what was opened since. Answers
    come from `script` first, then from `reply`.

    Args:
        tls: speak TLS, as `localhost`.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.requests: list[Received] = []
        self.connections = 0
        self._scripts: deque[Sequence[Step]] = deque()
        self.reply: Callable[[Received], Sequence[Step]] = _default_reply
        self._arrived = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="recorder")
        self._connections: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._held: socket.socket | None = None
        self.port = 0

    def __enter__(self) -> "Recorder":
        self._held = hold()  # nobody else gets the port while the recorder refuses connections
        self.port = self._held.getsockname()[1]
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._stop_listening())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._held is not None:
            self._held.close()

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}" if self.tls else f"http://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        """Connections that are open now."""
        return len(self._connections)

    def reset(self) -> None:
        """Forget requests and scripts."""
        self.requests = []
        self.connections = 0
        self._scripts.clear()
        self.reply = _default_reply

    def script(self, *answers: Sequence[Step]) -> None:
        """Answer the next requests with these, in this order."""
        self._scripts.extend(answers)

    def wait_for(self, count: int = 1, timeout: float = DEADLINE) -> Received:
        """The `count`th request since the last reset; fails when it does not come."""
        with self._arrived:
            enough = self._arrived.wait_for(lambda: len(self.requests) >= count, timeout)
        assert enough, f"{len(self.requests)} requests came, not {count}"
        return self.requests[count - 1]

    @property
    def only(self) -> Received:
        """The one request that came."""
        assert len(self.requests) == 1, f"{len(self.requests)} requests came"
        return self.requests[0]

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse connections meanwhile."""
        self._run(self._stop_listening())
        try:
            yield
        finally:
            self._run(self._listen())

    def serve_with(self, tls: ssl.SSLContext | None) -> None:
        """From now on speak TLS in another way, or not at all, on the same port."""
        with self.refusing():
            self.tls = tls

    def _run(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(DEADLINE)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self.tls, backlog=BACKLOG
        )

    async def _stop_listening(self) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)
        await self._server.wait_closed()
        while self._writers:
            writer = self._writers.pop()
            abort(writer)
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self._writers.add(writer)
        self.connections += 1
        connection = _Connection(reader, writer)
        try:
            while (request := await connection.receive()) is not None:
                steps = self._scripts.popleft() if self._scripts else self.reply(request)
                with self._arrived:
                    self.requests.append(request)
                    self._arrived.notify_all()
                if not await connection.answer(request, steps):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return  # the caller left, or the test is over
        finally:
            self._connections.discard(task)
            connection.close()


class _Connection:
    """Reads requests and plays answers, and meanwhile notices a caller that leaves."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = b""
        self._reading: asyncio.Task[bytes] | None = None
        self._playing: asyncio.Task[bool] | None = None

    def close(self) -> None:
        for task in (self._playing, self._reading):
            if task is not None:
                task.cancel()
        self._writer.close()

    async def receive(self) -> Received | None:
        while b"\r\n\r\n" not in self._buffer:
            if not await self._more():
                return None
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        request = Received(head)
        if request.header("transfer-encoding") == "chunked":
            request.body = await self._chunked_body()
        else:
            request.body = await self._take(int(request.header("content-length") or 0))
        return request

    async def answer(self, request: Received, steps: Sequence[Step]) -> bool:
        """Play the steps; whether the connection is good for another request."""
        playing = self._playing = asyncio.ensure_future(self._play(request, steps))
        watching = self._reading = self._reading or asyncio.ensure_future(self._reader.read(READ_SIZE))
        await asyncio.wait({playing, watching}, return_when=asyncio.FIRST_COMPLETED)
        if watching.done() and not playing.done() and not _read(watching):
            request.note(left=time.monotonic())
            return False
        try:
            return await playing
        except ConnectionError:
            request.note(left=time.monotonic())
            return False

    async def _play(self, request: Received, steps: Sequence[Step]) -> bool:
        for step in steps:
            if isinstance(step, bytes):
                self._writer.write(step)
                await self._writer.drain()
                request.sent += len(step)
            elif isinstance(step, Gate):
                await step.passed()
            elif isinstance(step, Close | Reset):
                request.note(finished=True)
                if isinstance(step, Reset):
                    self._reset()
                return False
            else:
                await asyncio.sleep(step)
        request.note(finished=True)
        return True

    def _reset(self) -> None:
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def _more(self) -> bool:
        reading = self._reading or asyncio.ensure_future(self._reader.read(READ_SIZE))
        self._reading = None
        data = await reading
        self._buffer += data
        return bool(data)

    async def _take(self, count: int) -> bytes:
        parts, missing = [self._buffer[:count]], count - len(self._buffer)
        self._buffer = self._buffer[count:]
        while missing > 0:
            if not await self._more():
                raise ConnectionResetError
            parts.append(self._buffer[:missing])
            missing, self._buffer = missing - len(self._buffer), self._buffer[missing:]
        return b"".join(parts)

    async def _chunked_body(self) -> bytes:
        parts = []
        while True:
            while b"\r\n" not in self._buffer:
                if not await self._more():
                    raise ConnectionResetError
            size, _, self._buffer = self._buffer.partition(b"\r\n")
            chunk = await self._take(int(size, 16))
            await self._take(2)
            if not chunk:
                return b"".join(parts)
            parts.append(chunk)


def _read(task: "asyncio.Task[bytes]") -> bytes:
    return b"" if task.exception() is not None else task.result()


def head(status: int, headers: Headers) -> bytes:
    """A status line and headers."""
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def answer(
    status: int = 200, body: bytes = b"{}", headers: Headers = (), kind: str = "application/json"
) -> list[Step]:
    """A whole answer, with its length."""
    length = ("content-length", str(len(body)))
    return [head(status, [("content-type", kind), *headers, length]) + body]


def chunk(data: bytes) -> bytes:
    """Data as one chunk (RFC 9112 §7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def stream(
    *parts: Step, status: int = 200, headers: Headers = (), kind: str = "text/event-stream"
) -> list[Step]:
    """A chunked answer: each bytes part is a chunk of its own. Empty ones are left out: they would end it."""
    start = head(status, [("content-type", kind), *headers, ("transfer-encoding", "chunked")])
    return [
        start,
        *(chunk(part) if isinstance(part, bytes) else part for part in parts if part != b""),
        LAST_CHUNK,
    ]


def _default_reply(_: Received) -> list[Step]:
    return answer()
