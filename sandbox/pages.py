"""The two ways in which Anthropic pages a list: by the ids of its ends, and by an opaque token."""

import base64
from collections.abc import Sequence
from typing import Any

from sandbox.errors import invalid
from sandbox.http import Request

_DEFAULT = 20
_MAX = 1000


def limit_of(request: Request) -> int:
    """The page size asked for; 400 when it is no number from 1 to 1000."""
    text = request.query("limit")
    if text is None:
        return _DEFAULT
    if not text.isdecimal() or not text.isascii():
        raise invalid("limit: Input should be a valid integer, unable to parse string as an integer")
    limit = int(text[:10])
    if limit < 1:
        raise invalid("limit: Input should be greater than or equal to 1")
    if limit > _MAX:
        raise invalid(f"limit: Input should be less than or equal to {_MAX}")
    return limit


def by_ids(request: Request, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The page of `items` after `after_id` or before `before_id`; 400 for an unknown cursor."""
    limit = limit_of(request)
    after, before = request.query("after_id"), request.query("before_id")
    if after is not None and before is not None:
        raise invalid("Only one of `after_id` and `before_id` may be specified")
    if before is not None:
        end = _index(items, before, "before_id")
        start = max(0, end - limit)
        more = start > 0
    else:
        start = 0 if after is None else _index(items, after, "after_id") + 1
        end = start + limit
        more = end < len(items)
    page = list(items[start:end])
    return {
        "data": page,
        "has_more": more,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
    }


def by_token(request: Request, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The page of `items` that `page` names, and the token of the next one; 400 for a token that is not ours.

    The token holds the last id seen, so that an item made meanwhile shifts nothing. That item may be gone by
    then, so ids are compared by their order, which is the list's own: from the highest down.
    """
    limit = limit_of(request)
    token = request.query("page")
    if token is None:
        rest = items
    else:
        last_id = _decode(token)
        rest = [item for item in items if item["id"] < last_id]
    page = list(rest[:limit])
    return {"data": page, "next_page": _encode(page[-1]["id"]) if len(rest) > limit else None}


def _index(items: Sequence[dict[str, Any]], wanted: str, name: str) -> int:
    for index, item in enumerate(items):
        if item["id"] == wanted:
            return index
    raise invalid(f"{name}: no object with id {wanted!r}")


def _encode(last_id: str) -> str:
    return "page_" + base64.urlsafe_b64encode(last_id.encode()).decode().rstrip("=")


def _decode(token: str) -> str:
    encoded = token.removeprefix("page_")
    try:
        last_id = base64.b64decode(
            encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True
        ).decode()
    except ValueError:
        last_id = ""
    if encoded == token or not last_id:
        raise invalid("page: invalid page token")
    return last_id
