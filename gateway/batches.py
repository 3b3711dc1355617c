"""What callers see of batches that differs from what Anthropic answers.

Batches point at their results with an absolute address: it has to be the gateway's. Followed as Anthropic
writes it, the SDK would send the gateway's key to Anthropic's host and pass the gateway by.

And what Anthropic has forgotten is answered from what the gateway has kept (`gateway.ended_batches`).
"""

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote, urlsplit

from gateway import splice
from gateway.call import Call
from gateway.content import ContentGone
from gateway.errors import Headers
from gateway.json_body import parse_answer
from gateway.origin import public_origin
from gateway.pool import Answer
from gateway.resources import Owned
from gateway.upstream import WholeAnswer, read_whole

PATH = "/v1/messages/batches"
FORGOTTEN = frozenset({404, 410})
"""What upstream answers about what it no longer has."""

JSON = (b"content-type", b"application/json")
JSON_LINES = (b"content-type", b"application/x-jsonl")

_MEMBER = re.compile(rb'("results_url"\s*:\s*)("(?:[^"\\]|\\.)*")')


def item(batch_id: str) -> str:
    """The path of a batch upstream."""
    return f"{PATH}/{quote(batch_id, safe='')}"


def with_own_results_url(call: Call, body: bytes, parsed: Any) -> bytes:
    """A batch, or a list of batches, whose `results_url` leads back to the gateway; no other byte is changed.

    Args:
        call: the request that is answered; its dialect decides which of our paths is meant.
        body: upstream's bytes.
        parsed: the same, parsed.
    """
    own = {url: _own_url(call, batch_id, url) for batch_id, url in _results_urls(parsed)}

    def replaced(member: re.Match[bytes]) -> bytes:
        url = own.get(json.loads(member[2]))
        return member[0] if url is None else member[1] + json.dumps(url).encode()

    return _MEMBER.sub(replaced, body) if own else body


def _results_urls(parsed: Any) -> Iterator[tuple[str, str]]:
    items = (
        parsed.get("data") if isinstance(parsed, dict) and isinstance(parsed.get("data"), list) else [parsed]
    )
    for item in items or ():
        if isinstance(item, dict) and isinstance(item.get("results_url"), str):
            yield str(item.get("id")), item["results_url"]


def _own_url(call: Call, batch_id: str, url: str) -> str:
    origin = public_origin(call)
    if call.dialect == "envelope":
        return f"{origin}/api/v1/batches/{quote(batch_id, safe='')}/results"
    parts = urlsplit(url)
    return f"{origin}{parts.path}{'?' + parts.query if parts.query else ''}"


class KeptAnswer(Answer):
    """Kept results in the place of upstream's answer."""

    def __init__(self, pieces: AsyncIterator[bytes], first: bytes) -> None:
        self.status = 200
        self.headers: Headers = [JSON_LINES]
        self._pieces = pieces
        self._next = first

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([chunk async for chunk in self._rest()])

    async def chunk(self) -> bytes:
        """The next bytes of the body, or nothing at its end."""
        chunk = self._next
        self._next = await anext(self._pieces, b"") if chunk else b""
        return chunk

    def close(self) -> None:
        """Drop what is left; nothing is held open."""
        self._next = b""

    async def _rest(self) -> AsyncIterator[bytes]:
        while chunk := await self.chunk():
            yield chunk


async def results_or_kept(call: Call, batch_id: str, answer: Answer) -> Answer:
    """Upstream's answer about a batch's results, or what is kept of them where it has none any more."""
    if answer.status not in FORGOTTEN:
        return answer
    ended = await call.services.ended_batches.find(batch_id)
    if ended is None or ended.content_id is None:
        return answer
    pieces = call.services.content.pieces(ended.content_id)
    try:
        first = await anext(pieces, b"")
    except ContentGone:
        return answer
    answer.close()
    call.answer = kept = KeptAnswer(pieces, first)
    return kept


async def batch_or_kept(call: Call, batch_id: str, answer: Answer) -> Answer:
    """Upstream's answer about a batch, or what it said at its end where it knows it no more.

    A batch whose results upstream has dropped says so by having no `results_url`: where they are kept, it has
    one again.
    """
    if answer.status not in FORGOTTEN and answer.status != 200:
        return answer
    ended = await call.services.ended_batches.find(batch_id)
    if ended is None or ended.batch is None:
        return answer
    if answer.status in FORGOTTEN:
        answer.close()
        return WholeAnswer(200, [JSON], ended.batch)
    body = await read_whole(answer)
    batch = parse_answer(body)
    unlinked = isinstance(batch, dict) and batch.get("results_url", "") is None
    if unlinked and await _is_kept(call, ended.content_id):
        url = f"{item(batch_id)}/results"  # of which `with_own_results_url` makes ours
        body = splice.with_members(body, {"results_url": json.dumps(url).encode()})
    kept = [pair for pair in answer.headers if pair[0] not in (b"content-length", b"transfer-encoding")]
    return WholeAnswer(200, kept, body)


async def _is_kept(call: Call, content_id: str | None) -> bool:
    if content_id is None:
        return False
    try:
        await call.services.content.find(content_id)
    except ContentGone:
        return False
    return True


async def deleted_with_kept(call: Call, batch_id: str, answer: Answer) -> Answer:
    """Upstream's answer to the deletion of a batch, after which nothing of it is kept here either.

    Raises:
        ServiceUnavailable: the database cannot be written.
    """
    services = call.services
    if 200 <= answer.status < 300:
        await services.ended_batches.forget(batch_id)
        return answer
    if answer.status not in FORGOTTEN or await services.ended_batches.find(batch_id) is None:
        return answer
    answer.close()
    await services.ended_batches.forget(batch_id)
    await services.walls.forget(Owned("batches", batch_id))
    return WholeAnswer(200, [JSON], json.dumps({"id": batch_id, "type": "message_batch_deleted"}).encode())
