"""The register of requests that came with an idempotency key, in the database.

A row is claimed before a request goes on, by one of all that come with the same key, in whichever process.
Only a final answer is kept; everything else frees the key, so that a retry runs.
"""

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite

from gateway.content import Content, Writer
from gateway.errors import GatewayError, Headers
from gateway.headers import from_json, to_json
from gateway.store import Session, Store
from gateway.store.tables import idempotency_keys, instances
from gateway.tasks import keep

log = logging.getLogger(__name__)

LIFETIME = 86_400.0
"""Seconds for which an answer can be replayed."""

KIND = "replay"
"""Of the contents that hold answers."""

DELETED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to answer a request, until it is finished or released."""

    digest: bytes
    key_id: str
    operation: str
    fingerprint: bytes | None
    token: str


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier request with the same key. `status` is None while it runs; its `fingerprint` is None while a
    form goes by.
    """

    digest: bytes
    token: str
    fingerprint: bytes | None
    status: int | None
    headers: Headers
    content_id: str


class IdempotencyKeys:
    """The register of requests that came with a key.

    Args:
        store: the database.
        content: keeps the answers.
        instance_id: this process in the table of processes.
        now: the clock, in seconds since 1970.

    Attributes:
        replays: how many answers were replayed.
    """

    def __init__(
        self, store: Store, content: Content, instance_id: int, now: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._content = content
        self._instance_id = instance_id
        self._now = now
        self._insert = (sqlite if store.embedded else postgresql).insert(idempotency_keys)
        self._finishing: set[asyncio.Task[None]] = set()
        self.replays = 0

    async def close(self) -> None:
        """Finish what is under way."""
        if self._finishing:
            await asyncio.wait(self._finishing)

    async def claim(
        self, key_id: str, value: bytes, operation: str, fingerprint: bytes | None
    ) -> Claim | Earlier:
        """Claim a key for a request, or learn of the request that came with it before.

        Args:
            key_id: the gateway key of the caller: others may use the same idempotency key.
            value: the idempotency key.
            operation: the operationId.
            fingerprint: of the request; None where it is known only in the end.

        Raises:
            ServiceUnavailable: the database cannot be written.
        """
        digest = hashlib.sha256(key_id.encode() + b"\0" + value).digest()
        claim = Claim(digest, key_id, operation, fingerprint, secrets.token_hex(8))
        claiming = self._store.batch(self._claim, claim)
        try:
            earlier: Earlier | None = await claiming
        except BaseException:
            # The caller left, or the database failed, with the row on its way: it must not stay.
            self._store.post(_delete, (claim.digest, claim.token))
            raise
        return claim if earlier is None else earlier

    def writer(self, claim: Claim) -> Writer:
        """Takes in the body of the answer; hand it to `finish` or discard it."""
        return self._content.writer(claim.key_id, KIND, lifetime=LIFETIME)

    async def finish(
        self, claim: Claim, status: int, headers: Headers, body: Writer, fingerprint: bytes
    ) -> None:
        """Keep a final answer. Once begun this is done also when the caller leaves meanwhile.

        An answer that cannot be kept frees the key; it is the caller's all the same.
        """
        finishing = keep(self._finish(claim, status, headers, body, fingerprint), self._finishing)
        await asyncio.shield(finishing)

    async def release(self, claim: Claim) -> None:
        """Free a key whose request got no final answer."""
        try:
            await self._store.batch(_delete, (claim.digest, claim.token))
        except GatewayError:  # a little later then
            self._store.post(_delete, (claim.digest, claim.token))

    async def drop(self, earlier: Earlier) -> None:
        """Free a key whose answer is gone.

        Raises:
            ServiceUnavailable: the database cannot be written.
        """
        await self._store.batch(_delete, (earlier.digest, earlier.token))

    async def forget(self, key_id: str) -> None:
        """Delete all answers of a gateway key, and free the idempotency keys that they came with.

        Raises:
            ServiceUnavailable: the database cannot be written.
        """
        await self._store.write(_delete_answered, key_id)
        await self._content.delete_of(key_id, KIND)

    async def expire(self) -> int:
        """Delete what is past its end; returns how many.

        Raises:
            ServiceUnavailable: the database cannot be written.
        """
        deleted = 0
        while True:
            step = await self._store.write(_delete_expired, self._milliseconds())
            deleted += step
            if step < DELETED_AT_ONCE:
                return deleted

    async def _finish(
        self, claim: Claim, status: int, headers: Headers, body: Writer, fingerprint: bytes
    ) -> None:
        try:
            stored = await body.commit()
            values = {
                "status": status,
                "headers": to_json(headers),
                "content_id": stored.id,
                "fingerprint": fingerprint,
                "expires_at": stored.expires_at,
            }
            await self._store.write(_update, claim, values)
        except Exception:  # the answer goes out whatever happens here
            log.exception("An answer cannot be kept for a replay")
            await body.discard()
            await self.release(claim)

    def _claim(self, session: Session, claims: list[Claim]) -> list[Earlier | None]:
        """Claim keys, in an order that replicas share so that they do not wait for each other in a circle."""
        results: dict[str, Earlier | None] = {}
        for claim in sorted(claims, key=lambda claim: claim.digest):
            results[claim.token] = self._claim_one(session, claim)
        return [results[claim.token] for claim in claims]

    def _claim_one(self, session: Session, claim: Claim) -> Earlier | None:
        now = self._milliseconds()
        row = {
            "digest": claim.digest,
            "key_id": claim.key_id,
            "operation": claim.operation,
            "fingerprint": claim.fingerprint,
            "instance_id": self._instance_id,
            "claim": claim.token,
            "expires_at": now + int(LIFETIME * 1000),
        }
        session.connection.execute(self._insert.values(row).on_conflict_do_nothing())
        found = session.connection.execute(
            select(idempotency_keys, instances.c.id.label("alive"))
            .outerjoin(instances, instances.c.id == idempotency_keys.c.instance_id)
            .where(idempotency_keys.c.digest == claim.digest)
        ).one()
        if found.claim == claim.token:
            return None
        lost = found.status is None and found.alive is None  # its process died
        if lost or found.expires_at <= now:
            taken = session.connection.execute(
                idempotency_keys.delete().where(
                    idempotency_keys.c.digest == claim.digest, idempotency_keys.c.claim == found.claim
                )
            )
            if taken.rowcount:
                return self._claim_one(session, claim)
        return _earlier(found)

    def _milliseconds(self) -> int:
        return int(self._now() * 1000)


def _earlier(row: Any) -> Earlier:
    headers = from_json(row.headers or "[]")
    seen = None if row.fingerprint is None else bytes(row.fingerprint)
    return Earlier(bytes(row.digest), row.claim, seen, row.status, headers, row.content_id or "")


def _update(session: Session, claim: Claim, values: dict[str, Any]) -> None:
    """Write the answer down, unless the key was taken for lost meanwhile; its content goes at its end."""
    session.connection.execute(
        idempotency_keys.update()
        .where(idempotency_keys.c.digest == claim.digest, idempotency_keys.c.claim == claim.token)
        .values(values)
    )


def _delete(session: Session, items: Sequence[tuple[bytes, str]]) -> list[None]:
    for digest, token in sorted(items):
        session.connection.execute(
            delete(idempotency_keys).where(
                idempotency_keys.c.digest == digest, idempotency_keys.c.claim == token
            )
        )
    return [None] * len(items)


def _delete_answered(session: Session, key_id: str) -> None:
    session.connection.execute(
        delete(idempotency_keys).where(
            idempotency_keys.c.key_id == key_id, idempotency_keys.c.status.is_not(None)
        )
    )


def _delete_expired(session: Session, now: int) -> int:
    old = select(idempotency_keys.c.digest).where(idempotency_keys.c.expires_at <= now).limit(DELETED_AT_ONCE)
    return session.connection.execute(
        delete(idempotency_keys).where(idempotency_keys.c.digest.in_(old))
    ).rowcount
