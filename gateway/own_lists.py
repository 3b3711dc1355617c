"""Lists for a key that sees its own alone: upstream's pages, walked on from the caller's cursor and sifted.

Items keep the bytes that upstream wrote, and its order. The cursors that a caller gets are upstream's own, at
places where one of the caller's items ends: so a page begins where the one before it ended, whatever is made
or deleted meanwhile (docs/adr/0008).
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote_plus

from gateway import splice
from gateway.errors import BadGateway
from gateway.json_body import parse_answer
from gateway.pool import Answer
from gateway.upstream import WholeAnswer, read_whole

LARGEST_PAGE = 1000
DEFAULT_LIMIT = 20
"""Anthropic's own."""

GROWTH = 4
"""By how much the next page of upstream's is larger, while most items are others'."""

Send = Callable[[str], Awaitable[Answer]]
"""Asks upstream for a page, given its path and query."""

Sift = Callable[[list[dict[str, Any]]], Awaitable[list[bool]]]
"""Says of each item whether the caller may see it."""


class Item(NamedTuple):
    """One item of a list: its id, and its bytes."""

    id: str
    raw: bytes


class _Page:
    """A page of upstream's.

    Attributes:
        answer: its head.
        body: its bytes.
        ids: of all items.
        own: those that the caller may see.
        value: the whole, parsed.
    """

    def __init__(self, answer: Answer, body: bytes, value: dict[str, Any]) -> None:
        self.answer = answer
        self.body = body
        self.value = value
        self.ids = [str(item.get("id")) for item in value["data"]]
        self.own: list[Item] = []

    async def sift(self, sift: Sift) -> None:
        if any(seen := await sift(self.value["data"])):
            raws = splice.items_of(self.body, "data")
            self.own = [Item(name, raw) for name, raw, own in zip(self.ids, raws, seen, strict=True) if own]

    @property
    def next_page(self) -> str | None:
        token = self.value.get("next_page")
        return token if isinstance(token, str) and token else None


class _Refused(Exception):
    """Upstream answered a page with an error, which is the answer to the whole list."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


async def own_list(
    target: str, send: Send, sift: Sift, *, by_ids: bool, largest: int = LARGEST_PAGE
) -> Answer:
    """One page of a list with nothing in it but the caller's own.

    Args:
        target: path and query of upstream's list, as the caller wants it.
        send: asks upstream.
        sift: knows the caller's own.
        by_ids: the list pages by `after_id` and `before_id`, not by tokens.
        largest: how many items a page of upstream's may have.

    Raises:
        BadGateway: upstream answered with something that is no list.
    """
    walk = _Walk(target, send, sift, largest)
    try:
        return await (_by_ids(walk) if by_ids else _by_tokens(walk))
    except _Refused as refusal:
        return refusal.answer


class _Walk:
    """Asks for page after page, each larger than the one before it."""

    def __init__(self, target: str, send: Send, sift: Sift, largest: int) -> None:
        self._path, _, self._query = target.partition("?")
        self._send = send
        self._sift = sift
        self.largest = largest
        self._target = target
        asked = self.asked("limit")
        self.limit: int | None = DEFAULT_LIMIT
        if asked is not None:
            plain = asked.isascii() and asked.isdecimal() and 0 < int(asked[:6]) <= largest
            self.limit = int(asked) if plain else None  # a wrong one is upstream's to refuse
        self.size = self.limit or DEFAULT_LIMIT

    def asked(self, name: str) -> str | None:
        """The caller's value of a query parameter."""
        return next((value for key, value in parse_qsl(self._query) if key == name), None)

    async def fetch(self, target: str | None = None) -> _Page:
        """A page of upstream's, sifted: the one that the caller asked for, or another.

        Raises:
            _Refused: it is an error.
            BadGateway: it is no list.
        """
        answer = await self._send(target or self._target)
        if answer.status != 200:
            raise _Refused(answer)
        body = await read_whole(answer)
        value = parse_answer(body)
        match value:
            case {"data": list(data)} if all(isinstance(item, dict) for item in data):
                page = _Page(answer, body, value)
                await page.sift(self._sift)
                return page
        raise BadGateway("upstream answered with something that is no list")

    async def fetch_from(self, name: str, cursor: str | None, size: int) -> _Page:
        """The page of `size` items at a cursor; the caller's filters stay as they were written."""
        replaced = {"limit": str(size), name: cursor}
        pairs = [pair for pair in self._query.split("&") if pair and _name(pair) not in replaced]
        pairs += [f"{key}={quote(value, safe='')}" for key, value in replaced.items() if value is not None]
        return await self.fetch(f"{self._path}?{'&'.join(pairs)}")

    async def fetch_next(self, name: str, cursor: str | None) -> _Page:
        """The page at a cursor, larger than the one before."""
        self.size = min(self.size * GROWTH, self.largest)
        return await self.fetch_from(name, cursor, self.size)


async def _by_ids(walk: _Walk) -> Answer:
    """A list that pages by the ids of its ends, forwards from `after_id` or backwards from `before_id`.

    It is walked until one more than asked for is found, for `has_more` is a promise.
    """
    before, after = walk.asked("before_id"), walk.asked("after_id")
    backwards = before is not None and after is None
    name, cursor = ("before_id", before) if backwards else ("after_id", after)
    if walk.limit is None:
        first = await walk.fetch()
    else:
        first = await walk.fetch_from(name, cursor, min(walk.limit + 1, walk.largest))
    limit = walk.limit or len(first.ids)
    own, page, seen = first.own, first, {cursor}
    while len(own) <= limit and page.value.get("has_more") and page.ids:
        cursor = page.ids[0 if backwards else -1]
        if cursor in seen:
            break
        seen.add(cursor)
        page = await walk.fetch_next(name, cursor)
        own = page.own + own if backwards else own + page.own
    shown = own[-limit:] if backwards else own[:limit]
    ends = (shown[0].id, shown[-1].id) if shown else (None, None)
    more = len(own) > len(shown)
    return _answer(first, shown, {"has_more": more, "first_id": ends[0], "last_id": ends[1]})


async def _by_tokens(walk: _Walk) -> Answer:
    """A list that pages by upstream's tokens.

    There is a token for the end of a page only. So where the caller's page ends within one of upstream's,
    that is asked for once more, cut to end there. No token leads back: one that did would not know where.
    """
    start, page = walk.asked("page"), await walk.fetch()
    first, limit = page, walk.limit or max(len(page.ids), 1)
    own: list[Item] = []
    seen: set[str | None] = set()
    longest = len(page.ids)
    while True:
        room = limit - len(own)
        cut = page.ids.index(page.own[room - 1].id) + 1 if len(page.own) >= room else longest
        further = len(page.own) > room or page.next_page is not None
        if cut < len(page.ids) <= longest and further:
            longest = cut
            page = await walk.fetch_from("page", start, cut)
            continue
        own += page.own
        seen.add(start)
        start = page.next_page
        if start is None or start in seen or len(own) >= limit:
            return _answer(first, own, {"next_page": None if start in seen else start, "prev_page": None})
        page = await walk.fetch_next("page", start)
        longest = len(page.ids)


def _answer(first: _Page, items: list[Item], cursors: dict[str, Any]) -> Answer:
    """Upstream's first page with other items and cursors in it."""
    members = {name: json.dumps(value).encode() for name, value in cursors.items()}
    body = splice.with_members(first.body, {**members, "data": b"[%b]" % b",".join(i.raw for i in items)})
    kept = [pair for pair in first.answer.headers if pair[0] not in (b"content-length", b"transfer-encoding")]
    return WholeAnswer(first.answer.status, [*kept, (b"content-length", b"%d" % len(body))], body)


def _name(pair: str) -> str:
    return unquote_plus(pair.partition("=")[0])
