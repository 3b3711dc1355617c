"""HTTP/1.1 as uvicorn speaks it, with what it leaves open to anybody closed."""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Literal

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway.call import Call
from gateway.errors import BadRequest, GatewayError, HeadTooLarge, RequestTimeout, dialect_of, render
from gateway.head import Head, RepeatedHead
from gateway.headers import header
from gateway.ready import DONE, Ready
from gateway.responses import BODILESS_STATUSES

MAX_HEAD_BYTES = 65_536
"""What may come before a request's body, or after it as trailers; one read more may get in."""

HEAD_SECONDS = 30.0
"""How long the head of a request may take from its first byte: of who sends it nothing is known yet."""

LEARNT = 4
"""Heads that a connection learns: an SDK sends a few; a proxy brings everybody's, left to the parser."""

LESSONS = 16
"""Heads that it tries to learn."""

Standing = Literal["idle", "head", "body", "answer"]

_UPGRADE = re.compile(rb"(?<=\r\n)upgrade(?=:)", re.IGNORECASE)


_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_UNFIT = bytes({*range(32), 127} - set(b"\t\r\n"))
"""What no header holds: control characters other than the tab; line breaks are counted."""


class Cycle(RequestResponseCycle):
    """uvicorn's request and response, with what is usual done without a coroutine.

    A request that is there whole is received at once. Of an answer, a head that says nothing of the
    connection, the middle of a stream and a whole body are sent at once. All else is uvicorn's to do.
    What has no length ends for HTTP/1.0, which knows no chunks, with the connection (RFC 9112 §6.1, §6.3).
    """

    _until_close = False

    def receive(self) -> Awaitable[Any]:  # type: ignore[override]
        """The next ASGI message of the request."""
        if (
            self.more_body
            or self.waiting_for_100_continue
            or self.disconnected
            or self.response_complete
            or not self.message_event.is_set()
        ):
            return super().receive()
        self.flow.resume_reading()
        self.message_event.clear()
        body, self.body = bytes(self.body), bytearray()
        return Ready({"type": "http.request", "body": body, "more_body": False})

    def send(self, message: Any) -> Awaitable[None]:  # type: ignore[override]
        """Send an ASGI message."""
        if self._until_close:
            self.expected_content_length = len(message["body"])
        if (
            self.flow.write_paused
            or self.disconnected
            or self.response_complete
            or self.scope["method"] == "HEAD"
            or not (self._send_body(message) if self.response_started else self._send_head(message))
        ):
            return super().send(message)
        return DONE

    def _send_head(self, message: Any) -> bool:
        """Send status and headers, if nothing is unusual about them; returns whether it was done."""
        status, length = message["status"], None
        if self.waiting_for_100_continue:
            self.keep_alive = False  # the body may never come: what does, is nobody's (RFC 9110 §10.1.1)
        if not self.keep_alive or status in BODILESS_STATUSES:
            if self.scope["http_version"] == "1.0" and not header(message["headers"], b"content-length"):
                self.chunked_encoding, self._until_close = False, True
            return False
        headers = [*self.default_headers, *message["headers"]]
        lines = [b"%b: %b\r\n" % pair for pair in headers]
        head = b"".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines):
            return False
        if len(head.translate(None, _UNFIT)) != len(head):
            return False
        for name, value in headers:
            if name in _FRAMING:
                if name != b"content-length" or length is not None:
                    return False
                length = int(value)
        if length is None:
            self.chunked_encoding = True
            head += b"transfer-encoding: chunked\r\n"
        else:
            self.chunked_encoding = False
            self.expected_content_length = length
        self.response_started = True
        self.waiting_for_100_continue = False
        self.transport.write(b"%b%b\r\n" % (STATUS_LINE[status], head))
        return True

    def _send_body(self, message: Any) -> bool:
        """Send a piece of a stream, or a whole body; returns whether it was one of these."""
        body = message["body"]
        if message.get("more_body"):
            if not body or not (self.chunked_encoding or self._until_close):
                return False
            self.transport.write(b"%x\r\n%b\r\n" % (len(body), body) if self.chunked_encoding else body)
            return True
        if self.chunked_encoding or len(body) != self.expected_content_length:
            return False
        self.transport.write(body)
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True


class Http(HttpToolsProtocol):
    """uvicorn's protocol with heads and patience bounded, trailers left out, upgrades ignored, refusals told
    in the dialect of the path, and callers noticed who leave while they wait in line.

    Args:
        patience: seconds that a caller may stand still while it sends a request or takes its answer.
        refused: told of each refusal.
        arguments: uvicorn's own, likewise `named`.
    """

    url = b""
    _begun = False
    _unbodied_bytes = 0
    _in_body = False
    _due = 0
    _lessons = 0
    _first_read: bytes | None = None
    _read = b""
    _reads = 0
    _requests = 0
    _running: RequestResponseCycle | None = None
    _last: tuple[Standing, int, int] | None = None
    _since = 0.0

    def __init__(
        self, *arguments: Any, patience: float, refused: Callable[[GatewayError], None], **named: Any
    ) -> None:
        super().__init__(*arguments, **named)
        self._patience = patience
        self._refused = refused
        self._known: list[RepeatedHead] = []

    def data_received(self, data: bytes) -> None:
        """Take in what came: of a request that begins like an earlier one, the parser is not asked."""
        self._reads += 1
        if self._due:
            data = self._take_body(data)
        elif self._known and not self._begun and self._idle and not self.transport.is_closing():
            for known in self._known:
                if (found := known.find(data)) is not None:
                    self._repeat(known, found[1])
                    data = self._take_body(data[found[0] :])
                    break
        if data:
            self._parse(data)

    def _repeat(self, known: RepeatedHead, digits: bytes) -> None:
        """Begin a request whose head says what an earlier one said, but for the length of its body."""
        self._requests += 1
        self.url = known.url
        scope: Any = known.scope(digits)
        scope["state"] = self.app_state.copy()
        self.cycle = Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=True,
            on_response=self.on_response_complete,
        )
        self._start_asgi_task(self.cycle, self.app)
        self._due = int(digits or 0)
        self._in_body = True
        if not self._due:
            self.on_message_complete()

    def _take_body(self, data: bytes) -> bytes:
        """Take in what is due of a body; returns what lies behind it."""
        if not (data and self._due):
            return data
        body, rest = data[: self._due], data[self._due :]
        self._due -= len(body)
        self.on_body(body)
        if not self._due:
            self.on_message_complete()
        return rest

    def _parse(self, data: bytes) -> None:
        """Give the parser what came; refuse a head that does not end."""
        self._unbodied_bytes += len(data)
        self._read = data
        if not self._in_body and b"pgrade:" in data:
            data = _without_upgrade(data)
        elif not self._begun and self._requests and len(self._known) < LEARNT and self._lessons < LESSONS:
            self._first_read = data
        super().data_received(data)
        self._first_read, self._read = None, b""
        if self._unbodied_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.refuse(HeadTooLarge("the head of the request is too large"))

    def send_400_response(self, msg: str) -> None:
        """uvicorn's refusal of what is no HTTP."""
        if not self.url:  # of a method that nobody knows the parser reads no further
            self.url = self._read.partition(b" ")[2].partition(b" ")[0]
        self.refuse(BadRequest("the request is not valid HTTP"))

    def refuse(self, error: GatewayError) -> None:
        """Answer what never became a request, in the dialect of its path as far as that came, and close.

        In the middle of another answer nothing can be said: there the connection is cut.
        """
        self._refused(error)
        if self.pipeline or (self._running and self._running.response_started and not self._idle):
            self.transport.abort()
            return
        dialect, request_id = dialect_of(self.url), f"req_{secrets.token_hex(12)}"
        body = render(error, dialect, request_id)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            (b"x-request-id", request_id.encode()),
            *([(b"request-id", request_id.encode())] if dialect == "native" else []),
            *error.headers,
        ]
        lines = [b"%b: %b\r\n" % pair for pair in [*self.server_state.default_headers, *headers]]
        self.transport.write(STATUS_LINE[error.status] + b"".join(lines) + b"\r\n" + body)
        self.transport.close()

    def on_message_begin(self) -> None:
        """Of the parser: a request begins."""
        self._begun = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Of the parser: the head is whole, and the request's task made."""
        self._in_body = True
        self._requests += 1
        super().on_headers_complete()
        if self.scope["method"] == "CONNECT":  # whose body the parser takes for the next request
            self.cycle.keep_alive = False
        if self._first_read is not None and self.cycle.keep_alive:
            scope: dict[str, Any] = {name: value for name, value in self.scope.items() if name != "task"}
            learnt = RepeatedHead.learn(self._first_read, self.url, scope)
            self._lessons += 1
            if learnt is not None:
                self._known.append(learnt)
        self._first_read = None  # what comes behind it in the same read begins elsewhere
        # What the parser still finds are trailers: the stock class would add them to the headers that are
        # being acted upon, past a proxy that has looked at those alone (RFC 9110 §6.5.1).
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Of the parser: some of the body, which `gateway.body` bounds."""
        self._unbodied_bytes = 0
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Of the parser: the request is whole."""
        self._unbodied_bytes = 0
        self._begun = self._in_body = False
        if not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Of the cycle: the answer is out. Idle connections are looked at together, without a timer each."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller has left: the running request is told, although others came behind it."""
        super().connection_lost(exc)
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
            call: Call | None = running.scope.get("call")  # type: ignore[assignment]
            if call is not None:
                call.left_line()
        self.pipeline.clear()

    def look(self, now: float) -> None:
        """Let go of a caller that has stood still for too long; called every now and then.

        Args:
            now: the loop's time.
        """
        standing = self._standing()
        if standing is None:
            self._last = None
            return
        # A head counts from its first byte on: one that comes a byte a second holds a connection as well.
        moved = self._requests if standing == "head" else self._reads
        state = (standing, moved, self.transport.get_write_buffer_size())
        if state != self._last:
            self._last, self._since = state, now
        elif now - self._since >= self._limit(standing):
            self._give_up(standing)

    @property
    def _idle(self) -> bool:
        return self._running is None or self._running.response_complete

    def _standing(self) -> Standing | None:
        """What the caller has to do next, or None while it is our turn."""
        if self.transport.get_write_buffer_size():
            return "answer"
        if self.transport.is_closing():
            return None
        if self._in_body:
            return None if self.flow.read_paused else "body"
        if not self._idle:
            return None
        return "head" if self._unbodied_bytes else "idle"

    def _limit(self, standing: Standing) -> float:
        if standing == "head":
            return min(HEAD_SECONDS, self._patience)
        if standing == "idle":  # who has asked before may ask again
            return self.timeout_keep_alive if self._requests else min(self.timeout_keep_alive, self._patience)
        return self._patience

    def _give_up(self, standing: Standing) -> None:
        if standing == "idle":
            self.transport.close()
        elif standing == "head":
            self.refuse(RequestTimeout("the head of the request did not come in time"))
        else:
            self._refused(RequestTimeout(f"the {standing} did not move"))
            self.transport.abort()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        scope: Any = cycle.scope
        if "head" not in scope:
            scope["head"] = Head(scope)
        cycle.__class__ = Cycle  # uvicorn leaves no other way to choose it
        task = scope["task"] = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)


def patient(patience: float, refused: Callable[[GatewayError], None]) -> Any:
    """The protocol for `uvicorn.Config.http`; arguments as of `Http`."""
    return partial(Http, patience=patience, refused=refused)


def look_at(connections: Iterable[asyncio.BaseProtocol], now: float) -> None:
    """Let go of the callers of a server who have stood still for too long."""
    for connection in list(connections):
        if isinstance(connection, Http):
            connection.look(now)


def _without_upgrade(data: bytes) -> bytes:
    """The same with `Upgrade` under a name that nobody knows.

    A server may ignore it (RFC 9110 §7.8), but the parser stops at it and takes the body for another
    protocol's. Java's client sends it with each request to an `http://` address.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"ignored", head) + end + rest
