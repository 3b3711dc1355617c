"""One HTTP/1.1 connection to upstream (RFC 9112), parsed by httptools.

Answers are handed on as the bytes that came. A connection serves one request at a time; it is given back as
soon as the last byte of the answer is parsed, while the answer's bytes wait for whoever reads them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import cast

import httptools

from gateway.errors import Headers

MAX_HEAD_BYTES = 65_536
"""Header bytes that an answer may have, trailers included."""

HIGH_WATER = 262_144
"""Unread bytes of an answer above which upstream is held back."""

LOW_WATER = 65_536


class Http1Error(Exception):
    """The connection failed, or what came over it is not HTTP; the message is a cause that names no host."""


class Http1Timeout(Http1Error):
    """Upstream was silent, or the exchange took, for too long."""


class ConnectionDied(Http1Error):
    """The connection ended before a byte of the answer came."""


class Http1Answer:
    """Status and headers of an answer, and its body as it comes."""

    __slots__ = ("_chunks", "_connection", "_error", "_size", "_waiter", "complete", "headers", "status")

    def __init__(self, connection: "Connection") -> None:
        self.status = 0
        self.headers: Headers = []
        self.complete = False
        self._connection: Connection | None = connection
        self._chunks: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: Http1Error | None = None

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            Http1Error: it did not come, or not whole.
        """
        whole: list[bytes] = []
        while not self.complete:
            await self._wait()
            whole += self._take()
        whole += self._take()
        if self._error is not None:
            raise self._error
        return whole[0] if len(whole) == 1 else b"".join(whole)

    async def chunk(self) -> bytes:
        """What has come of the body since the last call, or nothing at its end.

        Raises:
            Http1Error: it broke off; what came before that is handed out first.
        """
        while not self._chunks and not self.complete:
            await self._wait()
        if self._chunks:
            chunks = self._take()
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if self._error is not None:
            raise self._error
        return b""

    def close(self) -> None:
        """Drop what is left; a connection that still brings some of it is cut."""
        if self._connection is not None:
            self._connection.abort()
            self.finish(Http1Error("closed"))

    def feed(self, data: bytes) -> int:
        """Take in some of the body; returns how much is unread."""
        self._chunks.append(data)
        self._size += len(data)
        self._wake()
        return self._size

    def finish(self, error: Http1Error | None = None) -> None:
        """The body is over, whole or with an error."""
        if not self.complete:
            self.complete = True
            self._error = error
            self._connection = None
            self._wake()

    def _take(self) -> list[bytes]:
        chunks, self._chunks, self._size = self._chunks, [], 0
        if self._connection is not None:
            self._connection.resume()
        return chunks

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Connection(asyncio.Protocol):
    """One connection.

    Args:
        loop: the running loop.
        released: called when it may serve another request.
        lost: called when it is closed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        released: "Callable[[Connection], None]",
        lost: "Callable[[Connection], None]",
    ) -> None:
        self.idle_since = 0.0
        self.reused = False
        self._loop = loop
        self._released = released
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Http1Answer | None = None
        self._head: asyncio.Future[None] | None = None
        self._sending = False
        self._heard = False
        self._bodyless = False
        self._delimited = False
        self._head_bytes = 0
        self._paused = False
        self._room: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._silence = 0.0
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
            body: the body, whole or in pieces.
            length: of a body in pieces, or None to send it chunked.
            bodyless: the answer has no body, whatever its headers say (HEAD).
            total: seconds until the last byte of the answer, or None.
            silence: seconds that upstream may be silent.

        Raises:
            ConnectionDied: no byte of an answer came.
            Http1Error: the connection failed, or the answer is not HTTP.
        """
        assert self._transport is not None
        answer = self._answer = Http1Answer(self)
        self._head = self._loop.create_future()
        self._heard = False
        self._bodyless = bodyless
        self._head_bytes = 0
        self._set_timer(total, silence)
        try:
            if body is None or isinstance(body, bytes):
                self._transport.write(b"%b\r\n%b" % (head, body) if body else head + b"\r\n")
            else:
                await self._send_pieces(head, body, length)
            await self._head
        except BaseException:
            self.abort()
            answer.finish(Http1Error("closed"))
            raise
        return answer

    def abort(self) -> None:
        """Cut the connection at once."""
        self._clear_timer()
        self._answer = None
        if self._transport is not None:
            self._transport.abort()

    def resume(self) -> None:
        """The reader has caught up."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.abort()  # nobody asked for anything
            return
        self._heard = True
        self._last = self._loop.time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(Http1Error("the answer switches protocols"))
        except httptools.HttpParserError as error:
            self._fail(Http1Error(f"the answer is not HTTP: {type(error).__name__}"))

    def eof_received(self) -> None:
        answer = self._answer
        if answer is not None and answer.status and not self._delimited:
            self._complete(reusable=False)  # a body that ends with the connection (RFC 9112 §6.3)
        elif answer is not None:
            self._fail(self._broken())

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None:
            self._fail(self._broken())
        self._clear_timer()
        self._transport = None
        self.resume_writing()
        self._lost(self)

    def pause_writing(self) -> None:
        if self._room is None:
            self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    def on_header(self, name: bytes, value: bytes) -> None:
        """Of the parser: a header, or a trailer."""
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > MAX_HEAD_BYTES:
            self._fail(Http1Error("the answer's headers are too large"))
        elif self._answer is not None and not self._answer.status:
            name = name.lower()
            self._answer.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Of the parser: the head is whole."""
        answer, status = self._answer, self._parser.get_status_code()
        if answer is None or self._head is None:
            return
        if status < 200:
            if status == 101:
                self._fail(Http1Error("the answer switches protocols"))
            answer.headers.clear()  # an interim answer (RFC 9110 §15.2); the final one follows
            return
        answer.status = status
        names = {name for name, _ in answer.headers}
        self._delimited = b"content-length" in names or b"transfer-encoding" in names
        if not self._head.done():
            self._head.set_result(None)
        if self._bodyless:
            self._complete(reusable=False)

    def on_body(self, body: bytes) -> None:
        """Of the parser: some of the body."""
        answer = self._answer
        if answer is not None and answer.feed(body) > HIGH_WATER and not self._paused and self._transport:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """Of the parser: the answer is over; an interim one does not count."""
        if self._answer is not None and self._answer.status:
            self._complete(reusable=self._parser.should_keep_alive() and not self._sending)

    def _complete(self, *, reusable: bool) -> None:
        answer, self._answer = self._answer, None
        self._clear_timer()
        if answer is not None:
            answer.finish()
        if reusable and self.usable:
            self.resume()
            self.reused = True
            self._released(self)
        elif self._transport is not None:
            self._transport.close()

    def _fail(self, error: Http1Error) -> None:
        answer = self._answer
        self.abort()
        if self._head is not None and not self._head.done():
            self._head.set_exception(error)
        if answer is not None:
            answer.finish(error)

    def _broken(self) -> Http1Error:
        if not self._heard:
            return ConnectionDied("the connection ended before an answer came")
        return Http1Error("the connection broke off")

    async def _send_pieces(self, head: bytes, body: AsyncIterator[bytes], length: int | None) -> None:
        """Send a body in pieces; an answer that comes before its end ends the sending."""
        assert self._transport is not None
        assert self._head is not None
        self._sending = True
        chunked = length is None
        self._transport.write(head + (b"transfer-encoding: chunked\r\n\r\n" if chunked else b"\r\n"))
        sent = 0
        async for piece in body:
            if self._head.done() or not self.usable:
                return
            sent += len(piece)
            self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            if self._room is not None:
                await self._room
        if length is not None and sent != length:
            raise Http1Error("the body is not as long as was announced")
        if chunked and self.usable:
            self._transport.write(b"0\r\n\r\n")
        self._sending = False

    def _set_timer(self, total: float | None, silence: float) -> None:
        self._silence = silence if total is None else 0.0
        self._last = self._loop.time()
        self._timer = self._loop.call_later(silence if total is None else total, self._tick)

    def _tick(self) -> None:
        left = self._last + self._silence - self._loop.time() if self._silence else 0.0
        if left > 0 or self._paused:
            self._timer = self._loop.call_later(max(left, 0.1), self._tick)
        else:
            self._fail(Http1Timeout("upstream was silent for too long"))

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
