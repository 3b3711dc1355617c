"""The six batch calls. A batch is answered in the background and ends after a set time."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from sandbox import auth, pages, times
from sandbox.errors import ApiError, invalid, not_found
from sandbox.http import BATCH_LIMIT, Request, Response, dump, ok
from sandbox.ids import Ids
from sandbox.messages import Messages
from sandbox.scenarios import MODEL_PREFIX, duration_of
from sandbox.storage import Blob, Storage

_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MAX_REQUESTS = 100_000
_LIFE = 24 * 3600  # seconds
_AT_ONCE = 20  # answers composed before other calls have their turn
_JSONL = b"application/x-jsonl"
_EXPIRED = MODEL_PREFIX + "expired"
_COUNTS = ("succeeded", "errored", "canceled", "expired")


@dataclass(slots=True)
class Batch:
    """A batch and how far it is."""

    id: str
    size: int
    created_at: str
    expires_at: str
    ends: float
    """When it is over, if its answers are composed by then; monotonic seconds."""
    results: Blob
    counts: dict[str, int]
    ended_at: str | None = None
    cancel_initiated_at: str | None = None
    work: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        """Whether the results can be had."""
        over = time.monotonic() >= self.ends and (self.work is None or self.work.done())
        if over and self.ended_at is None:
            self.ended_at = times.now()
        return over

    def as_json(self, origin: str) -> dict[str, Any]:
        """The batch as the API shows it; counts stay zero until the end."""
        ended = self.ended
        counts = self.counts if ended else dict.fromkeys(_COUNTS, 0)
        if ended and self.cancel_initiated_at:
            counts = {**dict.fromkeys(_COUNTS, 0), "canceled": self.size}
        status = "ended" if ended else "canceling" if self.cancel_initiated_at else "in_progress"
        return {
            "id": self.id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": {"processing": 0 if ended else self.size, **counts},
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "ended_at": self.ended_at,
            "cancel_initiated_at": self.cancel_initiated_at,
            "archived_at": None,
            "results_url": f"{origin}/v1/messages/batches/{self.id}/results" if ended else None,
        }


class Batches:
    """The batches, newest first; the oldest that has ended makes room when there are too many."""

    def __init__(
        self, messages: Messages, ids: Ids, storage: Storage, *, seconds: float, max_batches: int
    ) -> None:
        self._messages = messages
        self._ids = ids
        self._storage = storage
        self._seconds = seconds
        self._max_batches = max_batches
        self._batches: dict[str, Batch] = {}

    async def create(self, request: Request) -> Response:
        """POST /v1/messages/batches."""
        requests = _requests(await request.json(BATCH_LIMIT))
        self._make_room()
        seconds = max([self._seconds, *(duration_of(one["params"].get("model")) for one in requests)])
        batch = Batch(
            id=self._ids.new("msgbatch"),
            size=len(requests),
            created_at=times.now(),
            expires_at=times.now(plus_seconds=_LIFE),
            ends=time.monotonic() + seconds,
            results=self._storage.create(),
            counts=dict.fromkeys(_COUNTS, 0),
        )
        version = request.headers[auth.VERSION_HEADER].decode("latin-1")
        batch.work = asyncio.create_task(self._answer(batch, requests, version))
        self._batches[batch.id] = batch
        return ok(batch.as_json(request.origin))

    async def list_all(self, request: Request) -> Response:
        """GET /v1/messages/batches."""
        return ok(
            pages.by_ids(
                request, [batch.as_json(request.origin) for batch in reversed(self._batches.values())]
            )
        )

    async def retrieve(self, request: Request) -> Response:
        """GET /v1/messages/batches/{message_batch_id}."""
        return ok(self._find(request).as_json(request.origin))

    async def cancel(self, request: Request) -> Response:
        """POST /v1/messages/batches/{message_batch_id}/cancel: none of its requests is answered then."""
        batch = self._find(request)
        if batch.ended:
            raise invalid(f"Message Batch {batch.id} has already ended and cannot be canceled")
        if batch.cancel_initiated_at is None:
            batch.cancel_initiated_at = times.now()
            batch.ends = min(batch.ends, time.monotonic() + self._seconds)
        return ok(batch.as_json(request.origin))

    async def results(self, request: Request) -> Response:
        """GET /v1/messages/batches/{message_batch_id}/results."""
        batch = self._find(request)
        if not batch.ended:
            raise not_found(f"Message Batch {batch.id} has no available results: it is still processing")
        return Response(
            _canceled(batch.results) if batch.cancel_initiated_at else batch.results.chunks(),
            content_type=_JSONL,
        )

    async def delete(self, request: Request) -> Response:
        """DELETE /v1/messages/batches/{message_batch_id}."""
        batch = self._find(request)
        if not batch.ended:
            raise invalid(
                f"Message Batch {batch.id} is still processing: cancel it and wait for its end first"
            )
        self._remove(batch)
        return ok({"id": batch.id, "type": "message_batch_deleted"})

    async def close(self) -> None:
        """Ends the work in the background."""
        work = [batch.work for batch in self._batches.values() if batch.work is not None]
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)

    def _find(self, request: Request) -> Batch:
        batch = self._batches.get(request.params[0])
        if batch is None:
            raise not_found(f"Message Batch not found: {request.params[0]}")
        return batch

    def _make_room(self) -> None:
        if len(self._batches) < self._max_batches:
            return
        oldest = next((batch for batch in self._batches.values() if batch.ended), None)
        if oldest is None:
            raise ApiError(429, "Too many batches are processing", headers=[(b"retry-after", b"1")])
        self._remove(oldest)

    def _remove(self, batch: Batch) -> None:
        del self._batches[batch.id]
        batch.results.delete()

    async def _answer(self, batch: Batch, requests: list[dict[str, Any]], version: str) -> None:
        """Writes the results, the last request's first: callers must go by `custom_id`."""
        for number, one in enumerate(reversed(requests), 1):
            result = self._result(one["params"], version)
            batch.counts[result["type"]] += 1
            batch.results.write(dump({"custom_id": one["custom_id"], "result": result}) + b"\n")
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        batch.results.close()

    def _result(self, params: dict[str, Any], version: str) -> dict[str, Any]:
        if params.get("model") == _EXPIRED:
            return {"type": "expired"}
        try:
            return {"type": "succeeded", "message": self._messages.answer_in_batch(params, version=version)}
        except ApiError as error:
            return {"type": "errored", "error": error.body(self._ids.new("req"))}


def _requests(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The requests of a new batch, checked as far as Anthropic checks them at once."""
    requests = body.get("requests")
    if not isinstance(requests, list):
        raise invalid(
            "requests: Field required" if requests is None else "requests: Input should be a valid list"
        )
    if not requests:
        raise invalid("requests: List should have at least 1 item after validation, not 0")
    if len(requests) > _MAX_REQUESTS:
        raise invalid(
            f"requests: List should have at most {_MAX_REQUESTS} items after validation, not {len(requests)}"
        )
    seen: set[str] = set()
    for index, one in enumerate(requests):
        _check_request(index, one)
        if one["custom_id"] in seen:
            raise invalid(f"requests.{index}.custom_id: duplicate custom_id {one['custom_id']}")
        seen.add(one["custom_id"])
    return requests


def _check_request(index: int, one: Any) -> None:
    where = f"requests.{index}"
    if not isinstance(one, dict):
        raise invalid(f"{where}: Input should be a valid dictionary")
    for name, kind, text in (("custom_id", str, "string"), ("params", dict, "dictionary")):
        if name not in one:
            raise invalid(f"{where}.{name}: Field required")
        if not isinstance(one[name], kind):
            raise invalid(f"{where}.{name}: Input should be a valid {text}")
    if not _CUSTOM_ID.fullmatch(one["custom_id"]):
        raise invalid(f"{where}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")


async def _canceled(results: Blob) -> AsyncIterator[bytes]:
    with results.open() as lines:
        for line in lines:
            yield dump({"custom_id": json.loads(line)["custom_id"], "result": {"type": "canceled"}}) + b"\n"
