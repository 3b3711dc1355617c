"""What the gateway knows of one request while it serves it.

The outermost middleware makes a `Call`, every later part writes what it learns, and the log line, the metrics
and the ledger are made from it when the last byte is out.
"""

import asyncio
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.types import Receive, Scope

from gateway.catalog import Operation
from gateway.errors import Dialect, Headers
from gateway.head import Head

if TYPE_CHECKING:
    from gateway.keys import Key
    from gateway.large_bodies import Reading
    from gateway.ledger import Entry
    from gateway.limits import Admission
    from gateway.metrics.stream_pace import StreamPace
    from gateway.pool import Answer
    from gateway.services import Services
    from gateway.tracing.spans import CallTrace
    from gateway.usage import Usage
    from gateway.watch import Watched

_SAFE_ID = re.compile(rb"[A-Za-z0-9_.\-]{8,128}")


def _request_ids() -> Iterator[str]:
    """Random ids without end; the system is asked for many at once, as each time other threads may run."""
    while True:
        digits = os.urandom(12 * 256).hex()
        for start in range(0, len(digits), 24):
            yield f"req_{digits[start : start + 24]}"


_new_id = _request_ids().__next__


@dataclass(slots=True, eq=False)
class Call:
    """One request. What a part of the pipeline writes is empty until that part has run.

    Attributes:
        services: what handlers and middlewares stand on.
        scope: the ASGI scope.
        receive: ASGI's source of the body.
        task: the task that serves the request.
        started: when it arrived, on the clock of `time.perf_counter`.
        head: what its head says, and what followed from that for an earlier request with the same one.
        path: the raw path, as it was sent.
        headers: the request's headers.
        request_id: our id, or the caller's own.
        operation: which operation of which spec; written by routing.
        key: who calls; written by security.
        admission: its way through the limits of the key, where it has some.
        parameters: path parameters, and the query's where the spec is closed.
        body: the bytes that came; empty also for a body that is passed on as it comes.
        uploading: the body is a form, passed on as it comes.
        payload: the body, parsed; of a large one its small members.
        reading: what else is known of a large body.
        model: the model that was asked for, then the one that answered.
        response: what the handler made.
        audit_target: the id of what an audited operation made.
        status: the status that was sent, in the end 499 when the caller left.
        first_byte: seconds from arrival to the first byte of the answer's body.
        streamed: whether the answer was passed on as it came.
        asked_at: when upstream was asked, like `started`; None when it was not.
        answered_at: when its status came.
        ended_at: when the last byte of its answer came.
        pace: how evenly the pieces of a message stream came.
        answer: upstream's answer, let go of at the end whatever became of it.
        upstream_status: the status that upstream answered, 0 when it was not asked.
        upstream_request_id: upstream's id of the call.
        stream_error: the `error.type` that ended a stream.
        entry: its row in the ledger.
        reported_usage: Anthropic's usage object, as far as it came.
        stop_reason: why the model stopped.
        complete: the whole message came.
        delta_bytes: content that a stream has passed on.
        usage: what the call is billed for; written, like `cost_nanodollars`, when it is settled.
        detached: it goes on when its caller hangs up.
        in_line: it waits for one of its key's places; nothing of its body has been read.
        lost: the connection to upstream broke while an answer was awaited.
        disconnected: the caller hung up.
        stopped: the gateway's shutdown ended the call.
        trace: its spans, where tracing is on.
    """

    services: "Services"
    scope: Scope
    receive: Receive
    task: "asyncio.Task[Any] | None" = field(init=False)
    started: float = field(init=False)
    head: Head = field(init=False)
    path: bytes = field(init=False)
    method: str = field(init=False)
    dialect: Dialect = field(init=False)
    headers: Headers = field(init=False)
    request_id: str = field(init=False)
    operation: Operation | None = None
    key: "Key | None" = None
    admission: "Admission | None" = None
    parameters: dict[str, Any] = field(default_factory=dict)
    body: bytes = b""
    uploading: bool = False
    payload: Any = None
    reading: "Reading | None" = None
    model: str | None = None
    response: Any = None
    audit_target: str = ""
    status: int = 0
    first_byte: float | None = None
    streamed: bool = False
    asked_at: float | None = None
    answered_at: float | None = None
    ended_at: float | None = None
    pace: "StreamPace | None" = None
    answer: "Answer | None" = None
    upstream_status: int = 0
    upstream_request_id: str | None = None
    stream_error: str | None = None
    entry: "Entry | None" = None
    reported_usage: dict[str, Any] | None = None
    stop_reason: str | None = None
    complete: bool = False
    delta_bytes: int = 0
    usage: "Usage | None" = None
    cost_nanodollars: int | None = None
    detached: bool = False
    in_line: bool = False
    lost: bool = False
    disconnected: bool = False
    stopped: bool = False
    trace: "CallTrace | None" = None
    _watched: "Watched | None" = None

    def __post_init__(self) -> None:
        self.started = time.perf_counter()
        self.task = self.scope.get("task") or asyncio.current_task()
        self.head = head = self.scope.get("head") or Head(self.scope)
        self.path = head.path
        self.method = head.method
        self.dialect = head.dialect
        self.headers = self.scope["headers"]
        given = self.header(b"x-request-id")
        plain = given is not None and _SAFE_ID.fullmatch(given)
        self.request_id = plain.string.decode() if plain else _new_id()

    @property
    def elapsed(self) -> float:
        """Seconds since the request arrived."""
        return time.perf_counter() - self.started

    @property
    def target(self) -> str:
        """The raw path and query, as they were sent."""
        query = self.scope["query_string"]
        return (self.path + b"?" + query if query else self.path).decode("latin-1")

    @property
    def upstream_may_bill(self) -> bool:
        """Whether upstream may have worked on the request, although it told no usage."""
        if self.upstream_status:
            return self.upstream_status < 300
        return self.lost or self.disconnected or self.stopped or self.status == 504

    def header(self, name: bytes) -> bytes | None:
        """The first value of a request header (name in lower case) other than Content-Length."""
        return self.head.values.get(name)

    @property
    def content_length(self) -> bytes | None:
        """What the caller says of the length of the body, None where nothing."""
        for name, value in self.headers:
            if name == b"content-length":
                return value
        return None

    def drop_body(self) -> None:
        """Keep nothing of the request's body but whether a stream was asked for: it may last an hour."""
        self.body = b""
        self.reading = None
        if isinstance(self.payload, dict):
            self.payload = {"stream": self.payload.get("stream")}

    def watch(self) -> None:
        """From now on cancel the running task when the caller hangs up; the body must have been read."""
        if not self.detached:
            self._watched = self.services.watch.add(self)

    def unwatch(self) -> None:
        """Stop watching: the answer is out."""
        if self._watched is not None:
            self._watched.end()
            self._watched = None

    def left_line(self) -> None:
        """The caller hung up: where the call waits for a place, it leaves the line at once."""
        if self.in_line and self.task is not None:
            self.disconnected = True
            self.task.cancel()

    def stop(self) -> None:
        """Cancel the running task because the gateway shuts down; a stream says so in its last event."""
        self.stopped = True
        if self.task is not None:
            self.task.cancel()
