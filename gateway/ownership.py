"""The walls around a call: what it names is checked before it goes up, what its answer brings forth is
entered, and lists are kept to the caller's own.

`middleware/walls.py` asks for the first, `gateway/relay.py` for the rest; no handler has to think of it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

from gateway.call import Call
from gateway.errors import GatewayError
from gateway.json_body import parse_answer
from gateway.own_lists import LARGEST_PAGE, own_list
from gateway.pool import Answer
from gateway.ready import DONE
from gateway.resources import (
    TELLING,
    Owned,
    brought_forth,
    is_anthropics,
    maker_of,
    named_in,
    named_in_query,
    told_by,
)
from gateway.upstream import Exchange, WholeAnswer, read_whole

logger = logging.getLogger("gateway")

RECORD_SECONDS = 1.0
"""How long an answer may wait for the database; what it brought forth is written all the same."""

LARGEST_AGENTS_PAGE = 100

_PROFILE = b"anthropic-user-profile-id"

Send = Callable[[Exchange], Awaitable[Answer]]


def check(call: Call) -> Awaitable[None]:
    """Refuse a call that names what is not its key's, in path, query, header or body.

    Returns:
        What is to be awaited; `DONE` where nothing is named.

    Raises:
        NotFound: when awaited: as if it did not exist.
    """
    key, operation = call.key, call.operation
    assert key is not None
    assert operation is not None
    if key.admin:
        return DONE
    subject = operation.subject
    named = call.reading.named if call.reading is not None else named_in(call.payload)
    if subject.item is not None and subject.kind is not None:
        named.add(Owned(subject.kind, call.parameters[subject.item]))
    if query := call.scope["query_string"]:
        named |= named_in_query(subject, query)
    if call.header(_PROFILE) is not None:  # upstream gets all of its lines
        named |= {
            Owned("user_profiles", value.decode("latin-1"))
            for name, value in call.headers
            if name == _PROFILE
        }
    return call.services.walls.check(key, named) if named else DONE


async def exchange(call: Call, request: Exchange, send: Send) -> Answer:
    """Send a request about resources that belong to keys.

    Args:
        call: the caller's.
        request: what goes up for it.
        send: asks upstream.
    """
    assert call.key is not None
    assert call.operation is not None
    subject = call.operation.subject
    if subject.lists and request.method == "GET" and not call.key.admin:
        return await _own_list(call, request, send)
    answer = await send(request)
    if not 200 <= answer.status < 300:
        return answer
    if subject.deletes:
        await _forget(call)
    elif subject.makes or (subject.kind in TELLING and not call.key.admin):
        body = await read_whole(answer)
        await _enter(call, _found_in(call, body))
        return WholeAnswer(answer.status, answer.headers, body)
    return answer


def note(call: Call, found: Iterable[Owned]) -> None:
    """Enter what a paid answer brings forth; it waits for nothing."""
    if call.key is not None:
        call.services.walls.note(call.key, found)


def note_message(call: Call, message: Any) -> None:
    """Enter what a whole message brings forth."""
    if isinstance(message, dict) and (found := brought_forth(message, threaded=is_threaded(call))):
        note(call, found)


def is_threaded(call: Call) -> bool:
    """Whether the conversation is held by Anthropic, so that the answer's id is a way into it."""
    return isinstance(call.payload, dict) and bool(call.payload.get("thread"))


def _found_in(call: Call, body: bytes) -> set[Owned]:
    """What the answer to a call of the agents' resources, or of one that makes something, brings forth."""
    assert call.operation is not None
    subject = call.operation.subject
    made = parse_answer(body)
    if not isinstance(made, dict):
        return set()
    found = told_by(made)
    if subject.makes and subject.kind is not None and isinstance(made.get("id"), str):
        found.add(Owned(subject.kind, made["id"]))
    items = made.get("data")
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            found |= told_by(item)
    return found


async def _enter(call: Call, found: set[Owned]) -> None:
    """Enter what was made before its caller hears of it, so that every replica knows it; what is made stays
    made, so the answer goes out whatever the database does.
    """
    assert call.key is not None
    try:
        async with asyncio.timeout(RECORD_SECONDS):
            await call.services.walls.record(call.key, found)
    except TimeoutError:
        logger.warning(
            "The owner of a new resource is not written yet", extra={"request_id": call.request_id}
        )
    except GatewayError:
        logger.exception("The owner of a new resource waits", extra={"request_id": call.request_id})
        note(call, found)


async def _forget(call: Call) -> None:
    assert call.operation is not None
    subject = call.operation.subject
    # A file's owner stays known: a conversation goes on naming what its code made, deleted or not.
    if subject.kind is None or subject.item is None or subject.kind == "files":
        return
    try:
        async with asyncio.timeout(RECORD_SECONDS):
            await call.services.walls.forget(Owned(subject.kind, call.parameters[subject.item]))
    except (TimeoutError, GatewayError):
        logger.exception("A deleted resource stays in the register", extra={"request_id": call.request_id})


async def _own_list(call: Call, request: Exchange, send: Send) -> Answer:
    assert call.operation is not None
    kind = call.operation.subject.kind
    assert kind is not None

    async def page(target: str) -> Answer:
        return await send(replace(request, target=target))

    async def sift(items: list[dict[str, Any]]) -> list[bool]:
        return await _are_own(call, kind, items)

    return await own_list(
        request.target,
        page,
        sift,
        by_ids=any(parameter["name"] == "after_id" for parameter in call.operation.parameters),
        largest=LARGEST_AGENTS_PAGE if call.operation.scope == "agents" else LARGEST_PAGE,
    )


async def _are_own(call: Call, kind: str, items: list[dict[str, Any]]) -> list[bool]:
    """Of each item of a list whether it is the key's: entered as its own, Anthropic's own, or, where no call
    made it, made by something of the key's. The latter is entered.
    """
    key, walls = call.key, call.services.walls
    assert key is not None
    resources = [Owned(kind, str(item.get("id"))) for item in items]
    makers = [maker_of(item) for item in items]
    owners = await walls.owners([*resources, *(maker for maker in makers if maker is not None)])
    own, found = [], set[Owned]()
    for item, resource, maker in zip(items, resources, makers, strict=True):
        owner = owners.get(resource)
        if owner is None and maker is not None and owners.get(maker) == key.id:
            owner = key.id
            found.add(resource)
        if owner == key.id:
            found |= told_by(item)
        own.append(owner == key.id or is_anthropics(resource))
    if found:
        await _enter(call, found)
    return own
