"""The last requests, for tests: what arrived, and whether its caller stayed."""

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from sandbox.http import Request, Response, ok


@dataclass(slots=True)
class Record:
    """One request and how it ended."""

    number: int
    request: Request
    received_at: float
    status: int | None = None
    finished_after: float | None = None
    caller_left_after: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The record as `/_sandbox/requests` shows it; times in seconds."""
        request = self.request
        return {
            "number": self.number,
            "request_id": request.id,
            "received_at": self.received_at,
            "method": request.method,
            "raw_path": request.scope["raw_path"].decode("latin-1"),
            "raw_query": request.scope["query_string"].decode("latin-1"),
            "headers": [
                [name.decode("latin-1"), value.decode("latin-1")] for name, value in request.scope["headers"]
            ],
            "body_bytes": request.size,
            "body_sha256": request.digest,
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
        record = Record(self._count, request, time.time())
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
