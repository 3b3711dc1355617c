"""Walls between keys: which key made which of Anthropic's resources.

All keys share one workspace upstream, where each sees everything. So the gateway keeps a register: an id
belongs to the key that made it, or whose answer brought it forth, and does not exist for any other.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, get_args

from sqlalchemy import Connection, Select, bindparam, delete, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from gateway.errors import BadRequest, NotFound
from gateway.keys import Key
from gateway.store import Session, Store
from gateway.store.tables import owners

Kind = Literal[
    "batches",
    "files",
    "skills",
    "containers",
    "sessions",
    "agents",
    "environments",
    "memory_stores",
    "vaults",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

REMEMBERED = 50_000
"""Ids whose owner is kept in memory."""

_MEMBERS: dict[str, Kind] = {
    "file_id": "files",
    "skill_id": "skills",
    "container_id": "containers",
    "batch_id": "batches",
    "message_batch_id": "batches",
    "session_id": "sessions",
    "agent_id": "agents",
    "environment_id": "environments",
    "memory_store_id": "memory_stores",
    "vault_id": "vaults",
}
_OBJECTS: dict[str, Kind] = {"container": "containers", "agent": "agents", "environment": "environments"}
_OPAQUE = frozenset({"input", "input_schema", "metadata"})
"""Members whose contents are the caller's or the model's own: a `file_id` in there is not Anthropic's."""

_STRINGS = _MEMBERS | _OBJECTS
_LISTS: dict[str, Kind] = {f"{name}s": kind for name, kind in _MEMBERS.items()}


class Owned(NamedTuple):
    """A resource of Anthropic's."""

    kind: Kind
    id: str


class Page(NamedTuple):
    """A page of a key's own ids, the latest first.

    Attributes:
        ids: those of the page.
        has_more: whether there are more in the direction that was asked for.
    """

    ids: list[str]
    has_more: bool


class Walls:
    """The register of owners.

    Args:
        store: the database.
        now: the clock, in seconds since 1970.
    """

    def __init__(self, store: Store, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now
        self._insert = _insert_statement(store)
        self._owners: OrderedDict[Owned, str] = OrderedDict()

    async def record(self, key: Key, resources: Iterable[Owned]) -> None:
        """Enter resources as a key's own; returns once that is committed. Twice is no error.

        An id that another key has made stays that key's.
        """
        rows = self._rows(key, resources)
        if rows:
            await self._store.batch(self._write, rows)

    def note(self, key: Key, resources: Iterable[Owned]) -> None:
        """The same without waiting, for ids that an answer under way brings forth."""
        rows = self._rows(key, resources)
        if rows:
            self._store.post(self._write, rows)

    async def check(self, key: Key, resources: Iterable[Owned]) -> None:
        """Let a key pass that owns all of the resources, or is an admin's.

        Raises:
            NotFound: one of them is not the key's, or does not exist; it says no more than that.
        """
        if key.admin:
            return
        for resource in resources:
            if _is_anthropics(resource):
                continue
            owner = self._owners.get(resource) or await self.owner(resource)
            if owner != key.id:
                raise NotFound(f"{resource.id} was not found")

    async def owner(self, resource: Owned) -> str | None:
        """The id of the key that made a resource; None when none did."""
        owner = self._owners.get(resource)
        if owner is None:
            owner = await self._store.read(_owner, resource)
            if owner is None:  # it may have been noted this very moment
                await self._store.flush()
                owner = await self._store.read(_owner, resource)
            if owner is not None:
                self._remember(resource, owner)
        return owner

    async def forget(self, resource: Owned) -> None:
        """Strike out a resource that is deleted upstream."""
        self._owners.pop(resource, None)
        await self._store.write(_delete, resource)

    async def own_page(
        self, key: Key, kind: Kind, *, limit: int, after: str | None = None, before: str | None = None
    ) -> Page:
        """One page of a key's own ids, the latest first, without a gap or a double.

        Args:
            key: whose.
            kind: of what.
            limit: how many at most.
            after: only what is older than this id.
            before: only what is newer than this id; the page next to it.

        Raises:
            BadRequest: both are given, or the id is none of the key's.
        """
        if after is not None and before is not None:
            raise BadRequest("give after_id or before_id, not both")
        await self._store.flush()
        return await self._store.read(_page, key.id, kind, limit, after, before)

    def _rows(self, key: Key, resources: Iterable[Owned]) -> list[tuple[Any, ...]]:
        now = int(self._now() * 1000)
        return [
            (resource.kind, resource.id, key.id, now)
            for resource in resources
            if resource not in self._owners and not _is_anthropics(resource)
        ]

    def _write(self, session: Session, items: list[list[tuple[Any, ...]]]) -> list[None]:
        # Sorted, so that replicas that enter the same ids do not wait for each other in a circle.
        session.cursor.executemany(self._insert, sorted(row for rows in items for row in rows))
        return [None] * len(items)

    def _remember(self, resource: Owned, owner: str) -> None:
        self._owners[resource] = owner
        if len(self._owners) > REMEMBERED:
            self._owners.popitem(last=False)


def named_in(body: object) -> set[Owned]:
    """The resources that a request's parsed body names.

    It goes through every block: to search the bytes for the names first costs more than the walk, and an
    escaped letter would hide a name from it.
    """
    found: set[Owned] = set()
    waiting = [body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            for name, value in node.items():
                if isinstance(value, str):
                    kind = _STRINGS.get(name)
                    if kind is not None and not (name == "skill_id" and node.get("type") == "anthropic"):
                        found.add(Owned(kind, value))
                elif isinstance(value, dict | list) and name not in _OPAQUE:
                    found.update(_inner(name, value))
                    waiting.append(value)
    return found


def brought_forth(message: Mapping[str, Any]) -> set[Owned]:
    """The resources that a message brings forth: its container, and files that code made in it.

    Only what Anthropic itself puts there counts, never what the model writes: else a prompt could claim
    another key's id by having it repeated.
    """
    found: set[Owned] = set()
    container = message.get("container")
    if isinstance(container, dict) and isinstance(container.get("id"), str):
        found.add(Owned("containers", container["id"]))
    content = message.get("content")
    for block in content if isinstance(content, list) else ():
        if isinstance(block, dict):
            found.update(made_by(block))
    return found


def made_by(block: Mapping[str, Any]) -> set[Owned]:
    """The files that one content block, the result of a server tool, brings forth."""
    if not str(block.get("type", "")).endswith("_tool_result"):
        return set()
    result = block.get("content")
    outputs = result.get("content") if isinstance(result, dict) else None
    return {
        Owned("files", output["file_id"])
        for output in (outputs if isinstance(outputs, list) else ())
        if isinstance(output, dict) and isinstance(output.get("file_id"), str)
    }


def _inner(name: str, value: dict[str, Any] | list[Any]) -> Iterable[Owned]:
    """Ids in the object forms: `container: {id: …}`, `vault_ids: […]`."""
    if isinstance(value, dict):
        kind = _OBJECTS.get(name)
        return [Owned(kind, value["id"])] if kind is not None and isinstance(value.get("id"), str) else ()
    kind = _LISTS.get(name)
    return [Owned(kind, item) for item in value if isinstance(item, str)] if kind is not None else ()


def _is_anthropics(resource: Owned) -> bool:
    """Whether Anthropic itself provides it: its own skills have plain names such as `xlsx`."""
    return resource.kind == "skills" and not resource.id.startswith("skill_")


def _insert_statement(store: Store) -> str:
    dialect = sqlite if store.embedded else postgresql
    names = [column.name for column in owners.c]
    insert = dialect.insert(owners).values({name: bindparam(name) for name in names})
    return store.statements.compile(insert.on_conflict_do_nothing(), names)


def _owner(connection: Connection, resource: Owned) -> str | None:
    found = select(owners.c.key_id).where(owners.c.kind == resource.kind, owners.c.resource_id == resource.id)
    return connection.execute(found).scalar()


def _delete(session: Session, resource: Owned) -> None:
    session.connection.execute(
        delete(owners).where(owners.c.kind == resource.kind, owners.c.resource_id == resource.id)
    )


def _page(
    connection: Connection, key_id: str, kind: Kind, limit: int, after: str | None, before: str | None
) -> Page:
    place = tuple_(owners.c.created_at, owners.c.resource_id)
    own: Select[Any] = select(owners.c.resource_id).where(owners.c.key_id == key_id, owners.c.kind == kind)
    cursor = after if after is not None else before
    if cursor is not None:
        created_at = connection.execute(
            own.with_only_columns(owners.c.created_at).where(owners.c.resource_id == cursor)
        ).scalar()
        if created_at is None:
            raise BadRequest(f"{cursor} is none of the ids that were listed")
        mark = tuple_(created_at, cursor)
        own = own.where(place < mark) if after is not None else own.where(place > mark)
    newest_first = [owners.c.created_at.desc(), owners.c.resource_id.desc()]
    oldest_first = [owners.c.created_at, owners.c.resource_id]
    own = own.order_by(*(newest_first if before is None else oldest_first)).limit(limit + 1)
    ids = list(connection.execute(own).scalars())
    page = ids[:limit] if before is None else ids[:limit][::-1]
    return Page(page, len(ids) > limit)
