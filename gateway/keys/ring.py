"""All keys of the gateway, held in memory by every process."""

import asyncio
import fnmatch
import hmac
import json
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from gateway.errors import AuthenticationFailed, BadRequest, Conflict, NotFound
from gateway.keys.fields import columns_of
from gateway.keys.key import DEFAULT_SCOPES, SCOPES, Budget, Key, Limits
from gateway.keys.secret import digest, generate_secret, read_admin_key
from gateway.store import Session, Store
from gateway.store.tables import keys as table
from gateway.store.tables import revisions
from gateway.tasks import stop

log = logging.getLogger(__name__)

ADMIN_ID = "key_admin"
ADMIN_NAME = "admin"

POLL_INTERVAL = 0.5
"""Seconds between looks at the database for changes by other processes."""

LONGEST_OVERLAP = 30 * 86_400.0

_REVISION = "keys"


class _Entry(NamedTuple):
    """A secret that opens a key, until a time."""

    digest: bytes
    key: Key | None
    until: float


_NOBODY = _Entry(bytes(32), None, 0.0)


class KeyRing:
    """All keys, in memory and in the database.

    Args:
        store: the database.
        admin: the admin key, or the file that holds it.
        limits: those of keys that name none.
        budget: that of keys that name none.
        now: the clock, in seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        admin: "str | Path",
        limits: Limits | None = None,
        budget: Budget | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._limits = limits or Limits()
        self._budget = budget or Budget()
        self._now = now
        self._admin_file = admin if isinstance(admin, Path) else None
        self._admin_seen: tuple[int, int] | None = None
        self._admin_digest = b"" if isinstance(admin, Path) else digest(admin)
        self._admin = Key(ADMIN_ID, ADMIN_NAME, frozenset(SCOPES))
        self._revision = -1
        self._by_id: dict[str, Key] = {}
        self._revisions: dict[str, int] = {}
        self._entries: dict[str, list[_Entry]] = {}
        self._index: dict[bytes, _Entry] = {}
        self._poller: asyncio.Task[None] | None = None
        self._look_at_admin_file()
        self._take(store.read_now(_changed_since, self._revision))

    async def start(self) -> None:
        """Begin to follow the changes of other processes."""
        self._poller = asyncio.create_task(self._poll(), name="keys-poll")

    async def close(self) -> None:
        """Stop following."""
        await stop(self._poller)
        self._poller = None

    def authenticate(self, secret: str) -> Key:
        """Find the key that a secret opens. A wrong secret costs the same as a right one.

        Raises:
            AuthenticationFailed: there is none, or it has expired or was revoked.
        """
        return self.opened_by(digest(secret))

    def opened_by(self, hashed: bytes) -> Key:
        """The same for a secret's digest.

        Raises:
            AuthenticationFailed: as `authenticate`.
        """
        entry = self._index.get(hashed, _NOBODY)
        if not hmac.compare_digest(entry.digest, hashed) or entry.key is None:
            raise AuthenticationFailed
        if entry.until <= self._now():
            expires_at = entry.key.expires_at
            if expires_at is None or entry.until < expires_at / 1000:
                raise AuthenticationFailed("the key was rotated, and the time of this secret is over")
            raise AuthenticationFailed("the key has expired")
        return entry.key

    def get(self, key_id: str) -> Key:
        """A key by its id, also a revoked one.

        Raises:
            NotFound: no such key.
        """
        key = self._by_id.get(key_id)
        if key is None:
            raise NotFound(f"no key {key_id}")
        return key

    def living(self, key_id: str) -> Key:
        """A key by its id that is not revoked.

        Raises:
            NotFound: no such key, or it is revoked.
        """
        key = self.get(key_id)
        if key.revoked_at is not None:
            raise NotFound(f"the key {key.name} is revoked")
        return key

    def usable(self, key_id: str) -> Key:
        """The key of a caller who is not there any more, for work that it left to be done.

        Raises:
            AuthenticationFailed: it was revoked, or has expired.
        """
        if key_id == ADMIN_ID:
            return self._admin
        key = self._by_id.get(key_id)
        if key is None or key.revoked_at is not None:
            raise AuthenticationFailed("the key was revoked")
        if key.expires_at is not None and key.expires_at <= self._milliseconds():
            raise AuthenticationFailed("the key has expired")
        return key

    def name(self, key_id: str) -> str:
        """A key's name for reports; the id itself should the key be unknown."""
        if key_id == ADMIN_ID:
            return ADMIN_NAME
        key = self._by_id.get(key_id)
        return key_id if key is None else key.name

    def all(self, *, revoked: bool = False) -> list[Key]:
        """Every key, the latest first.

        Args:
            revoked: include those that were revoked.
        """
        found = [key for key in self._by_id.values() if revoked or key.revoked_at is None]
        return sorted(found, key=attrgetter("place"), reverse=True)

    async def create(self, fields: Mapping[str, Any]) -> tuple[Key, str]:
        """Make a key.

        Args:
            fields: as in `POST /api/v1/keys`; only `name` is required.

        Returns:
            The key and its secret, which is nowhere to be had again.

        Raises:
            BadRequest: a field is wrong.
            Conflict: the name is taken, or `expires_at` has passed.
        """
        if "name" not in fields:
            raise BadRequest("name is required")
        secret = generate_secret()
        now = self._milliseconds()
        row = {
            "id": f"key_{secrets.token_hex(12)}",
            "digest": digest(secret),
            "scopes": json.dumps(DEFAULT_SCOPES),
            "models": '["*"]',
            "limits": "{}",
            "budget": "{}",
            "created_at": now,
            "updated_at": now,
            **columns_of(fields, {}, {}, now),
        }
        return await self._change(_insert, row), secret

    async def update(self, key_id: str, fields: Mapping[str, Any]) -> Key:
        """Change a key; what is left out, also inside `limits` and `budget`, stays.

        Raises:
            BadRequest: a field is wrong.
            Conflict: the name is taken, or `expires_at` has passed.
            NotFound: no such key, or it is revoked.
        """
        self.living(key_id)
        return await self._change(_update_fields, key_id, dict(fields), self._milliseconds())

    async def rotate(self, key_id: str, overlap: float = 0.0) -> tuple[Key, str]:
        """Give a key a new secret.

        Args:
            key_id: which.
            overlap: seconds for which the old secret works as well.

        Raises:
            BadRequest: the overlap is negative or longer than 30 days.
            NotFound: no such key, or it is revoked.
        """
        if not 0 <= overlap <= LONGEST_OVERLAP:
            raise BadRequest(f"the overlap must be between 0 and {LONGEST_OVERLAP:.0f} seconds")
        self.living(key_id)
        secret = generate_secret()
        now = self._milliseconds()
        until = now + int(overlap * 1000) if overlap else None
        return await self._change(_rotate, key_id, digest(secret), until, now), secret

    async def revoke(self, key_id: str) -> Key:
        """Make a key useless for good. Its name becomes free, its usage stays. Twice is no error.

        Raises:
            NotFound: no such key.
        """
        key = self.get(key_id)
        if key.revoked_at is not None:
            return key
        now = self._milliseconds()
        return await self._change(_update, key_id, {"revoked_at": now, "updated_at": now})

    async def refresh(self) -> None:
        """Take over what other processes have changed."""
        self._look_at_admin_file()
        if await self._store.read(_revision) != self._revision:
            self._take(await self._store.read(_changed_since, self._revision))

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_INTERVAL)
            try:
                await self.refresh()
            except Exception:
                log.exception("Keys cannot be refreshed; those in memory hold")

    async def _change(self, function: Callable[..., Any], *args: Any) -> Key:
        row = await self._store.write(function, *args)
        self._adopt(row)
        return self._by_id[row.id]

    def _milliseconds(self) -> int:
        return int(self._now() * 1000)

    def _take(self, rows: Iterable[Any]) -> None:
        for row in rows:
            self._adopt(row)
            self._revision = max(self._revision, row.revision)

    def _adopt(self, row: Any) -> None:
        """Put one row of the table into the index, in place of what it held of that key before."""
        if row.revision < self._revisions.get(row.id, 0):
            return  # read before a change of our own that is in the index already
        self._revisions[row.id] = row.revision
        key = self._key(row)
        for entry in self._entries.pop(key.id, ()):
            del self._index[entry.digest]
        self._by_id[key.id] = key
        if key.revoked_at is not None:
            return
        until = float("inf") if key.expires_at is None else key.expires_at / 1000
        entries = [_Entry(bytes(row.digest), key, until)]
        if row.previous_digest is not None:
            entries.append(_Entry(bytes(row.previous_digest), key, min(until, row.previous_until / 1000)))
        self._entries[key.id] = entries
        self._index.update((entry.digest, entry) for entry in entries)

    def _key(self, row: Any) -> Key:
        limits: dict[str, int | None] = json.loads(row.limits)
        budget: dict[str, int | None] = json.loads(row.budget)
        models = tuple(json.loads(row.models))
        return Key(
            row.id,
            row.name,
            frozenset(json.loads(row.scopes)),
            models,
            replace(self._limits, **limits),
            replace(self._budget, **budget),
            row.created_at,
            row.updated_at,
            row.expires_at,
            row.revoked_at,
            _compile(models),
        )

    def _look_at_admin_file(self) -> None:
        """Follow the file, so that a replaced admin key works at once in all running processes."""
        if self._admin_file is not None:
            try:
                status = self._admin_file.stat()
            except FileNotFoundError:
                if self._admin_seen is None:
                    raise
                return  # removed while we run: the key in memory holds
            seen = (status.st_mtime_ns, status.st_ino)
            if seen == self._admin_seen:
                return
            read = digest(read_admin_key(self._admin_file))  # while it cannot be, the key in memory holds
            self._admin_seen = seen
            self._index.pop(self._admin_digest, None)
            self._admin_digest = read
        self._index[self._admin_digest] = _Entry(self._admin_digest, self._admin, float("inf"))


def _compile(models: tuple[str, ...]) -> re.Pattern[str] | None:
    if "*" in models:
        return None
    return re.compile("|".join(map(fnmatch.translate, models)) or r"(?!)")


def _revision(connection: Connection) -> int:
    value = connection.execute(select(revisions.c.value).where(revisions.c.name == _REVISION)).scalar()
    return -1 if value is None else value


def _changed_since(connection: Connection, revision: int) -> list[Any]:
    return list(connection.execute(select(table).where(table.c.revision > revision)))


def _next_revision(connection: Connection) -> int:
    """Count a change. The row stays locked until the commit, so revisions become visible in their order."""
    done = connection.execute(
        revisions.update()
        .where(revisions.c.name == _REVISION)
        .values(value=revisions.c.value + 1)
        .returning(revisions.c.value)
    )
    return int(done.scalar_one())


def _insert(session: Session, row: dict[str, Any]) -> Any:
    connection = session.connection
    if session.retried and (made := connection.execute(select(table).where(table.c.id == row["id"])).first()):
        return made
    revision = _next_revision(connection)
    _refuse_taken(connection, row["name"], row["id"])
    statement = table.insert().values({**row, "revision": revision}).returning(table)
    return connection.execute(statement).one()


def _update(session: Session, key_id: str, changes: dict[str, Any]) -> Any:
    revision = _next_revision(session.connection)
    if "name" in changes:
        _refuse_taken(session.connection, changes["name"], key_id)
    done = session.connection.execute(
        table.update().where(table.c.id == key_id).values({**changes, "revision": revision}).returning(table)
    )
    return done.one()


def _update_fields(session: Session, key_id: str, fields: dict[str, Any], now: int) -> Any:
    row = session.connection.execute(select(table).where(table.c.id == key_id)).one()
    columns = columns_of(fields, json.loads(row.limits), json.loads(row.budget), now)
    return _update(session, key_id, {**columns, "updated_at": now})


def _rotate(session: Session, key_id: str, digest: bytes, until: int | None, now: int) -> Any:
    row = session.connection.execute(select(table).where(table.c.id == key_id)).one()
    if row.digest == digest:  # a former attempt was committed
        return row
    changes = {
        "digest": digest,
        "previous_digest": None if until is None else row.digest,
        "previous_until": until,
        "updated_at": now,
    }
    return _update(session, key_id, changes)


def _refuse_taken(connection: Connection, name: str, key_id: str) -> None:
    taken = connection.execute(
        select(table.c.id).where(table.c.name == name, table.c.revoked_at.is_(None), table.c.id != key_id)
    ).first()
    if taken is not None or name == ADMIN_NAME:
        raise Conflict(f"the name {name} is taken")
