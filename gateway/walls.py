"""Walls between keys: which key made which of Anthropic's resources.

All keys share one workspace upstream, where each sees everything. So the gateway keeps a register: an id
belongs to the key that made it, or whose answer brought it forth, and does not exist for any other.
"""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from gateway.errors import NotFound, ThreadNotFound
from gateway.keys import Key
from gateway.resources import Kind, Owned, is_anthropics
from gateway.store import Session, Store
from gateway.store.tables import owners

REMEMBERED = 50_000
"""Ids whose owner is kept in memory."""

LATE: dict[Kind, tuple[float, ...]] = dict.fromkeys(("files", "containers", "messages"), (0.03, 0.1, 0.3))
"""After how many seconds an id of these kinds is looked for again. They come out of paid answers, which wait
for nothing, so that a caller may name one at a replica before another has committed it."""

AT_ONCE = 500
"""Ids that one statement asks for."""

_ID = re.compile(r"[!-~]{1,256}")
"""What may be an id; anything else is none, and does not get into the database."""


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

        Raises:
            ServiceUnavailable: the database cannot be written.
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
        walled = [resource for resource in resources if not is_anthropics(resource)]
        known = await self.owners(walled)
        for resource in walled:
            owner = known.get(resource)
            if owner is None:
                owner = await self.owner(resource)
            elif owner != key.id:  # the answer takes as long as for what does not exist
                await asyncio.sleep(sum(LATE.get(resource.kind, ())))
            if owner != key.id:
                refusal = ThreadNotFound if resource.kind == "messages" else NotFound
                shown = resource.id if _ID.fullmatch(resource.id) else "what is named here"
                raise refusal(f"{shown} was not found")

    async def owner(self, resource: Owned) -> str | None:
        """The id of the key that made a resource; None when none did."""
        owner = (await self.owners([resource])).get(resource)
        for seconds in LATE.get(resource.kind, ()):
            if owner is not None:
                break
            await asyncio.sleep(seconds)
            owner = (await self.owners([resource])).get(resource)
        return owner

    async def owners(self, resources: Sequence[Owned]) -> dict[Owned, str]:
        """The ids of the keys that made resources; those that none made are left out."""
        found = {resource: self._owners[resource] for resource in resources if resource in self._owners}
        if missing := [one for one in resources if one not in found and _ID.fullmatch(one.id)]:
            found |= await self._read(missing)
        if missing := [one for one in missing if one not in found]:
            await self._store.flush()  # they may have been noted this very moment
            found |= await self._read(missing)
        return found

    async def forget(self, resource: Owned) -> None:
        """Strike out a resource that is deleted upstream.

        Raises:
            ServiceUnavailable: the database cannot be written.
        """
        self._owners.pop(resource, None)
        await self._store.write(_delete, resource)

    def _rows(self, key: Key, resources: Iterable[Owned]) -> list[tuple[Any, ...]]:
        now = int(self._now() * 1000)
        return [
            (resource.kind, resource.id, key.id, now)
            for resource in resources
            if resource not in self._owners and not is_anthropics(resource) and _ID.fullmatch(resource.id)
        ]

    def _write(self, session: Session, items: list[list[tuple[Any, ...]]]) -> list[None]:
        # Sorted, so that replicas that enter the same ids do not wait for each other in a circle.
        session.cursor.executemany(self._insert, sorted(row for rows in items for row in rows))
        return [None] * len(items)

    async def _read(self, resources: list[Owned]) -> dict[Owned, str]:
        read = await self._store.read(_owners, resources)
        for resource, owner in read.items():
            self._remember(resource, owner)
        return read

    def _remember(self, resource: Owned, owner: str) -> None:
        self._owners[resource] = owner
        if len(self._owners) > REMEMBERED:
            self._owners.popitem(last=False)


def _insert_statement(store: Store) -> str:
    dialect = sqlite if store.embedded else postgresql
    names = [column.name for column in owners.c]
    insert = dialect.insert(owners).values({name: bindparam(name) for name in names})
    return store.statements.compile(insert.on_conflict_do_nothing(), names)


def _owners(connection: Connection, resources: list[Owned]) -> dict[Owned, str]:
    found: dict[Owned, str] = {}
    by_kind = attrgetter("kind")
    for kind, group in groupby(sorted(resources), by_kind):
        ids = [resource.id for resource in group]
        for start in range(0, len(ids), AT_ONCE):
            some = select(owners.c.resource_id, owners.c.key_id).where(
                owners.c.kind == kind, owners.c.resource_id.in_(ids[start : start + AT_ONCE])
            )
            found |= {Owned(kind, row.resource_id): row.key_id for row in connection.execute(some)}
    return found


def _delete(session: Session, resource: Owned) -> None:
    session.connection.execute(
        delete(owners).where(owners.c.kind == resource.kind, owners.c.resource_id == resource.id)
    )
