"""One HTTP/1.1 connection to upstream (RFC 9112), parsed by httptools.

Answers are handed on as the bytes that came. A connection serves one request at a time; it is given back as
soon as the last byte of the answer is parsed, while the answer's bytes wait for whoever reads them.

What goes wrong is told in the SDK's connection errors, so that the SDK's retry rules apply; their messages
are causes that name no host.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import httptools
import httpx2
from anthropic import APIConnectionError, APITimeoutError

from gateway.errors import Headers

MAX_HEAD_BYTES = 65_536
"""Bytes that may come without a head's end or some of the body: headers, interim answers, chunk extensions,
trailers. Reads are counted, not headers, so that one read more may pass."""

READ_BYTES = 32_768
"""The most that is read at once. The event loop's own buffer is eight times as large: a caller who does not
read would cost as much memory, and one who does would hold up the others for as long."""

HIGH_WATER = 16_384
"""Unread bytes of an answer above which upstream is held back."""

REQUEST = httpx2.Request("POST", "http://upstream")
"""What the SDK's errors ask for; of the real request they would tell the host."""


Handle = Callable[[bytes], Awaitable[None] | None]
"""Takes a piece of a body; returns what is to be awaited before the next one, if anything."""


class ConnectionBroken(APIConnectionError):
    """The connection failed, or what came over it is not HTTP.

    Args:
        cause: names no host, as callers read it.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(message=cause, request=REQUEST)


class ConnectionDied(ConnectionBroken):
    """The connection ended before a byte of the answer came.

    Args:
        waited: seconds since the whole request was sent.
    """

    def __init__(self, waited: float = 0.0) -> None:
        super().__init__("the connection ended before an answer came")
        self.waited = waited


class Http1Answer:
    """Status and headers of an answer, and its body as it comes."""

    __slots__ = (
        "_chunks",
        "_connection",
        "_error",
        "_handle",
        "_loop",
        "_size",
        "_waiter",
        "complete",
        "headers",
        "status",
    )

    def __init__(self, connection: "Connection", loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.status = 0
        self.headers: Headers = []
        self.complete = False
        self._connection: Connection | None = connection
        self._chunks: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[Awaitable[None] | None] | None = None
        self._handle: Handle | None = None
        self._error: APIConnectionError | None = None

    @property
    def ready(self) -> bool:
        """Whether `chunk` does not wait."""
        return self.complete or bool(self._chunks)

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            anthropic.APIConnectionError: it did not come, or not whole.
        """
        whole = self._take()
        while not self.complete:
            await self._wait()
            whole += self._take()
        if self._error is not None:
            raise self._error
        return whole[0] if len(whole) == 1 else b"".join(whole)

    async def chunk(self) -> bytes:
        """What has come of the body since the last call, or nothing at its end.

        Raises:
            anthropic.APIConnectionError: it broke off; what came before that is handed out first.
        """
        while not self._chunks and not self.complete:
            waiter = self._waiter = self._loop.create_future()  # `_wait`, without a frame for each piece
            try:
                await waiter
            finally:
                self._waiter = None
        if self._chunks:
            chunks = self._take()
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if self._error is not None:
            raise self._error
        return b""

    async def pass_on(self, handle: Handle) -> None:
        """Give the body to `handle` as it comes: within the read that brings it, without waking a task.

        Where `handle` returns something to be awaited, what comes meanwhile waits here.

        Raises:
            anthropic.APIConnectionError: it broke off; what came before that is handed out first.
            Exception: what `handle` raises.
        """
        while True:
            waiting: Awaitable[None] | None = None
            if self._chunks:
                waiting = handle(b"".join(self._take()))
            elif self.complete:
                break
            else:
                waiting = await self._handled(handle)
            if waiting is not None:
                await waiting
        if self._error is not None:
            raise self._error

    async def _handled(self, handle: Handle) -> Awaitable[None] | None:
        """Let `feed` call `handle`, until that has to be waited for or the body is over."""
        waiter: asyncio.Future[Awaitable[None] | None] = self._loop.create_future()
        self._waiter, self._handle = waiter, handle
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                _drop(waiter.result())
            raise
        finally:
            self._waiter = self._handle = None

    def close(self) -> None:
        """Drop what is left; a connection that still brings some of it is cut."""
        if self._connection is not None:
            self._connection.abort()

    def feed(self, data: bytes) -> int:
        """Take in some of the body; returns how much is unread."""
        if self._handle is not None and self._waiter is not None and not self._waiter.done():
            self._hand_over(data, self._handle, self._waiter)
            return 0
        self._chunks.append(data)
        self._size += len(data)
        self._wake()
        return self._size

    def finish(self, error: APIConnectionError | None = None) -> None:
        """The body is over, whole or with an error."""
        if not self.complete:
            self.complete = True
            self._error = error
            self._connection = None
            self._wake()

    def _hand_over(self, data: bytes, handle: Handle, waiter: asyncio.Future[Awaitable[None] | None]) -> None:
        try:
            waiting = handle(data)
        except Exception as fault:  # raised where the body is awaited
            if not waiter.done():
                waiter.set_exception(fault)
            return
        if waiting is not None:
            if waiter.done():  # given up meanwhile
                _drop(waiting)
            else:
                waiter.set_result(waiting)

    def _take(self) -> list[bytes]:
        chunks, self._chunks, self._size = self._chunks, [], 0
        if self._connection is not None:
            self._connection.resume()
        return chunks

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Connection(asyncio.BufferedProtocol):
    """One connection.

    Args:
        loop: the running loop.
        buffer: what is read into, READ_BYTES long. Connections of one loop share it, as each read is parsed
            at once.
        made: called when it is open.
        released: called when it may serve another request.
        lost: called when it is closed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        buffer: memoryview,
        made: "Callable[[Connection], None]",
        released: "Callable[[Connection], None]",
        lost: "Callable[[Connection], None]",
    ) -> None:
        self.idle_since = 0.0
        self._loop = loop
        self._buffer = buffer
        self._made = made
        self._released = released
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append  # of the parser, which asks for it once; see `_pass_on`
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Http1Answer | None = None
        self._head: asyncio.Future[None] | None = None
        self._bodyless = False
        self._heard = False
        self._futile_bytes = 0
        self._paused = False
        self._sender: asyncio.Task[None] | None = None
        self._sending = False
        self._room: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None
        self._silence: float | None = None
        self._last = 0.0

    @property
    def usable(self) -> bool:
        """Whether a request may be sent over it."""
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(
        self,
        head: bytes,
        body: bytes | AsyncIterator[bytes] | None,
        *,
        length: int | None,
        bodyless: bool,
        total: float | None,
        silence: float,
    ) -> Http1Answer:
        """Send one request; returns when the head of its answer is there.

        Args:
            head: request line and headers, without the empty line.
            body: the body, whole or in pieces; what its iterator raises comes out of here.
            length: of a body in pieces, or None to send it chunked.
            bodyless: the answer has no body, whatever its headers say (HEAD).
            total: seconds until the last byte of the answer, from the last piece of the body on, or None.
            silence: seconds without a byte in either direction; counts where `total` is None, and while a
                body is sent in pieces.

        Raises:
            ConnectionDied: no byte of an answer came.
            anthropic.APITimeoutError: it took too long.
            anthropic.APIConnectionError: the connection failed, or the answer is not HTTP.
        """
        if self._transport is None:
            raise ConnectionDied
        answer = self._answer = Http1Answer(self, self._loop)
        arrived = self._head = self._loop.create_future()
        self._bodyless = bodyless
        self._heard = False
        self._futile_bytes = 0
        whole = body is None or isinstance(body, bytes)
        self._start_timer(total if whole else None, silence)
        try:
            if body is None or isinstance(body, bytes):
                self._transport.write(b"%b\r\n%b" % (head, body) if body else head + b"\r\n")
            else:
                self._sending = True
                self._sender = self._loop.create_task(
                    self._send_pieces(self._transport, head, body, length, total, silence)
                )
                self._sender.add_done_callback(self._sent)
            await arrived
        except BaseException:
            # Not `abort`: who is cancelled when the whole answer has just come may find the connection in
            # use for the next call.
            answer.close()
            raise
        return answer

    def abort(self, error: APIConnectionError | None = None) -> None:
        """Cut the connection at once; who waits for an answer is told the error."""
        answer, self._answer = self._answer, None
        self._clear_timer()
        if self._sender is not None:
            self._sender.cancel()
        if self._transport is not None:
            self._transport.abort()
        if answer is not None:
            error = error or ConnectionBroken("the connection was closed")
            answer.finish(error)
            if self._head is not None and not self._head.done():
                self._head.set_exception(error)

    def resume(self) -> None:
        """The reader has caught up."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._last = self._loop.time()  # upstream could not speak meanwhile
            self._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._made(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._answer is None:
            self.abort()  # nobody asked for anything
            return
        self._heard = True
        self._last = self._loop.time()
        self._futile_bytes += nbytes
        broken = None
        try:
            self._parser.feed_data(self._buffer[:nbytes])
        except httptools.HttpParserUpgrade:
            broken = ConnectionBroken("the answer switches protocols")
        except httptools.HttpParserError as error:
            broken = ConnectionBroken(f"the answer is not HTTP: {type(error).__name__}")
        if self._pieces:
            self._pass_on()
        if broken is not None:
            self.abort(broken)
        if self._futile_bytes > MAX_HEAD_BYTES:
            self.abort(ConnectionBroken("the answer's headers are too large"))

    def eof_received(self) -> None:
        answer = self._answer
        if answer is None:
            self.abort()
        elif answer.status and _ends_with_connection(answer.headers):
            self._complete(reusable=False)
        else:
            self.abort(self._broken())

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None:
            self.abort(self._broken())
        self._clear_timer()
        self._transport = None
        self._lost(self)

    def pause_writing(self) -> None:
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    def on_message_begin(self) -> None:
        """Of the parser: an answer begins, and no other may follow the one that was asked for."""
        if self._answer is None:
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Of the parser: a header, or a trailer."""
        if self._answer is not None and not self._answer.status:
            self._answer.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """Of the parser: the head is whole."""
        answer, status = self._answer, self._parser.get_status_code()
        if answer is None or self._head is None:
            return
        if status < 200:
            if status < 100 or status == 101:
                self.abort(ConnectionBroken(f"the answer has status {status}, which nobody asked for"))
            answer.headers.clear()  # an interim answer (RFC 9110 §15.2); the final one follows
            return
        answer.status = status
        self._futile_bytes = 0
        if not self._head.done():
            self._head.set_result(None)
        if self._bodyless:
            self._complete(reusable=False)

    def _pass_on(self) -> None:
        """Hand on what one read has brought of the body: of a burst, many chunks."""
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        answer = self._answer
        if answer is not None:
            self._futile_bytes = 0
            if answer.feed(body) > HIGH_WATER and not self._paused and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """Of the parser: the answer is over; an interim one does not count."""
        if self._pieces:
            self._pass_on()
        if self._answer is not None and self._answer.status:
            self._complete(reusable=self._parser.should_keep_alive())

    def _complete(self, *, reusable: bool) -> None:
        """The answer is over. Serve another request, if the whole of this one was taken in."""
        answer, transport = self._answer, self._transport
        if answer is None or transport is None:
            return
        answer.finish()
        if reusable and not self._sending and not transport.get_write_buffer_size() and self.usable:
            self._answer = None
            self._deadline = None
            self.resume()
            self._released(self)
        else:
            self.abort()

    def _broken(self) -> ConnectionBroken:
        if self._heard:
            return ConnectionBroken("the connection broke off")
        return ConnectionDied(0.0 if self._sending else self._loop.time() - self._last)

    async def _send_pieces(
        self,
        transport: asyncio.Transport,
        head: bytes,
        body: AsyncIterator[bytes],
        length: int | None,
        total: float | None,
        silence: float,
    ) -> None:
        """Send a body in pieces; in a task of its own: the answer may come, or time be up, before its end."""
        chunked = length is None
        transport.write(head + (b"transfer-encoding: chunked\r\n\r\n" if chunked else b"\r\n"))
        sent = 0
        async for piece in body:
            sent += len(piece)
            if length is not None and sent > length:
                break  # upstream would take the rest for another request
            if piece:  # an empty chunk would be the last one
                transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            self._last = self._loop.time()
            if self._room is not None:
                await self._room
        if length is not None and sent != length:
            raise ConnectionBroken("the body is not as long as was announced")
        if chunked:
            transport.write(b"0\r\n\r\n")
        self._sending = False
        if total is not None and self._deadline is not None:
            self._start_timer(total, silence)

    def _sent(self, sender: asyncio.Task[None]) -> None:
        """The body is sent, or not: then what its iterator raised is told to whoever waits for the answer."""
        self._sender = None
        if not self._sending:
            return
        error = None if sender.cancelled() else sender.exception()
        if self._head is not None and not self._head.done():
            self._head.set_exception(error or ConnectionBroken("the body was given up"))
        self.abort(ConnectionBroken("the body broke off"))

    def _start_timer(self, total: float | None, silence: float) -> None:
        """Give an exchange its time. A timer that an earlier one left does, if it rings soon enough."""
        self._silence = silence if total is None else None
        self._last = self._loop.time()
        self._deadline = self._last + (silence if total is None else total)
        if self._timer is not None and self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._tick)

    def _tick(self) -> None:
        """The time is over, or some of it was not silent, or the exchange that it was for is."""
        self._timer = None
        if self._deadline is None:
            return
        now = self._loop.time()
        if self._silence is not None:
            self._deadline = (now if self._paused else self._last) + self._silence
        if self._deadline > now:
            self._timer = self._loop.call_at(self._deadline, self._tick)
        else:
            self.abort(APITimeoutError(REQUEST))

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _drop(unsent: Awaitable[None] | None) -> None:
    """Forget what was to be awaited, without the warning of a coroutine that never was."""
    close = getattr(unsent, "close", None)
    if close is not None:
        close()


def _ends_with_connection(headers: Headers) -> bool:
    """Whether a body ends where its connection does (RFC 9112 §6.3)."""
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if codings:
        return not codings[-1].lower().rstrip().endswith(b"chunked")
    return all(name != b"content-length" for name, _ in headers)
