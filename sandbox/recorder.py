"""The last requests, for tests: what arrived, and whether its caller stayed."""

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from sandbox.http import Request, Response, ok


@dataclass(slots=True)
class Record:
    """One request and how it ended. It keeps no hold of the request, which would keep its connection."""

    number: int
    request_id: str
    received_at: float
    method: str
    raw_path: bytes
    raw_query: bytes
    headers: list[tuple[bytes, bytes]]
    body_bytes: int = 0
    body_sha256: str | None = None
    status: int | None = None
    finished_after: float | None = None
    caller_left_after: float | None = None

    def end(self, request: Request, *, caller_left: bool) -> None:
        """Notes what is known only at the end: the body as far as it was read, and who ended the call."""
        self.body_bytes, self.body_sha256 = request.size, request.digest
        seconds = time.monotonic() - request.started
        if caller_left:
            self.caller_left_after = seconds
        else:
            self.finished_after = seconds

    def as_json(self) -> dict[str, Any]:
        """The record as `/_sandbox/requests` shows it; durations in seconds."""
        return {
            "number": self.number,
            "request_id": self.request_id,
            "received_at": self.received_at,
            "method": self.method,
            "raw_path": self.raw_path.decode("latin-1"),
            "raw_query": self.raw_query.decode("latin-1"),
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.headers],
            "body_bytes": self.body_bytes,
            "body_sha256": self.body_sha256,
            "status": self.status,
            "finished_after": self.finished_after,
            "caller_left_after": self.caller_left_after,
        }


class Recorder:
    """A ring of records, oldest first."""

    def __init__(self, size: int) -> None:
        self._records: deque[Record] = deque(maxlen=size)
        self._count = 0

    def begin(self, request: Request) -> Record:
        """Records a request on its arrival, so that one under way can be seen too."""
        self._count += 1
        scope = request.scope
        record = Record(
            self._count,
            request.id,
            time.time(),
            request.method,
            scope["raw_path"],
            scope["query_string"],
            scope["headers"],
        )
        self._records.append(record)
        return record

    async def list_all(self, _request: Request) -> Response:
        """GET /_sandbox/requests."""
        return ok({"count": self._count, "requests": [record.as_json() for record in self._records]})

    async def clear(self, _request: Request) -> Response:
        """DELETE /_sandbox/requests: forgets them and counts from one again."""
        self._records.clear()
        self._count = 0
        return ok({"count": 0, "requests": []})
