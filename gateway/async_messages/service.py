"""What the handlers use: accept a message, tell of it, cancel or delete it; and the loop that runs them."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from gateway.async_messages.lines import Lines
from gateway.async_messages.record import AsyncMessage, Ending
from gateway.async_messages.run import call_for, cancel, failure, run
from gateway.async_messages.table import DELETED_AT_ONCE, Table
from gateway.call import Call
from gateway.content import ContentGone
from gateway.errors import GatewayError, Headers, NotFound, RateLimited, ServiceUnavailable
from gateway.keys import Key
from gateway.limits import Admission
from gateway.tasks import keep, stop

if TYPE_CHECKING:
    from gateway.services import Services

log = logging.getLogger(__name__)

DAY = 86_400.0
KIND = "async_message"
"""Of the contents that hold prompts and answers."""

LOOK_AFTER = 0.5
"""Seconds between looks for what other processes have canceled."""

TAKE_OVER_EVERY = 10
"""Looks after which what died processes have left is looked for."""

STORE_AGAIN_AFTER = (1.0, 5.0, 30.0, 0.0)
"""Seconds after which a paid answer is tried to be stored again, when the disk is full, say."""

AGAIN_AFTER = 5.0
"""Seconds after which a message is brought to its run again when the database did not answer."""

KEPT_HEADERS = frozenset({b"anthropic-beta", b"anthropic-version", b"traceparent", b"tracestate"})

Outcome = Literal["canceled", "deleted"]


class AsyncMessages:
    """All asynchronous messages.

    Args:
        services: what the runs stand on.
        now: the clock, in seconds since 1970.
    """

    def __init__(self, services: "Services", now: Callable[[], float] = time.time) -> None:
        self._services = services
        self._content = services.content
        self._settings = services.settings
        self._now = now
        self._table = Table(services.store, services.ledger.instance_id, now)
        self._lines = Lines(self._bring)
        self._places = asyncio.Semaphore(services.settings.async_message_concurrency)
        self._calls: dict[str, Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watcher: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def waiting(self) -> int:
        """How many stand in line here."""
        return self._lines.waiting

    @property
    def running(self) -> int:
        """How many run here."""
        return len(self._calls)

    async def start(self) -> None:
        """Begin with what this machine's last process had not begun."""
        self._watcher = asyncio.create_task(self._watch(), name="async-messages")

    async def close(self) -> None:
        """Write down what has ended. What runs was ended by the drain, what waits stays in the database."""
        self._closing = True
        await stop(self._watcher)
        await self._lines.close()
        for call in list(self._calls.values()):
            call.stop()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def expire(self) -> int:
        """Delete what is past its end; returns how many.

        Raises:
            ServiceUnavailable: the database cannot be written.
        """
        return await self._table.expire()

    async def accept(self, key: Key, headers: Headers, body: bytes, model: str) -> AsyncMessage:
        """Take a message on. It is stored once this returns, and will be run.

        Args:
            key: who asks.
            headers: those of the request.
            body: the request's body, checked.
            model: which it names.

        Raises:
            RateLimited: too many of the key's wait already.
            ServiceUnavailable: it cannot be stored.
        """
        lifetime = self._settings.async_message_retention_days * DAY
        stored = await self._content.put(key.id, KIND, body, lifetime=lifetime)
        message = AsyncMessage(
            id=f"amsg_{secrets.token_hex(12)}",
            key_id=key.id,
            instance_id=self._services.ledger.instance_id,
            status="queued",
            model=model.replace("\0", ""),  # which PostgreSQL's texts cannot hold
            headers=[pair for pair in headers if pair[0] in KEPT_HEADERS],
            request_content=stored.id,
            created_at=stored.created_at,
            expires_at=stored.expires_at,
        )
        # Shielded: a row that is written stands in line, though its caller has left.
        await asyncio.shield(keep(self._enter(message), self._tasks))
        return message

    async def _enter(self, message: AsyncMessage) -> None:
        """Write a message down, and let it stand in line."""
        try:
            await self._table.insert(message, self._settings.async_message_queue)
        except GatewayError:
            await self._content.delete(message.request_content)
            raise
        if not self._closing:
            self._lines.join(message.key_id, message.id)

    async def find(self, key: Key, message_id: str) -> tuple[AsyncMessage, bytes | None]:
        """A message, and what it was answered.

        Raises:
            NotFound: there is none, or it is another key's.
        """
        message = await self._owned(key, message_id)
        if message.answer_content is None:
            return message, None
        try:
            return message, await self._content.read(message.answer_content)
        except ContentGone:
            raise _not_found(message_id) from None

    async def remove(self, key: Key, message_id: str) -> Outcome:
        """Cancel a message that has not ended, wherever it runs; delete one that has, with its answer.

        Raises:
            NotFound: there is none, or it is another key's.
            ServiceUnavailable: the database cannot be written.
        """
        message = await self._owned(key, message_id)
        if not message.finished and await self._table.cancel(message_id):
            if message_id in self._calls:
                cancel(self._calls[message_id])
            await self._content.delete(message.request_content)
            return "canceled"
        message = await self._owned(key, message_id)
        await self._table.delete(message_id)
        kept = [message.request_content, message.answer_content]
        await self._content.delete(*(content_id for content_id in kept if content_id is not None))
        return "deleted"

    async def forget(self, key_id: str) -> None:
        """Delete a key's messages that have ended, with their answers.

        Raises:
            ServiceUnavailable: the database cannot be written.
        """
        kept = await self._table.forget(key_id)
        for start in range(0, len(kept), DELETED_AT_ONCE):
            await self._content.delete(*kept[start : start + DELETED_AT_ONCE])

    async def _owned(self, key: Key, message_id: str) -> AsyncMessage:
        message = await self._table.find(message_id)
        if message is None or (message.key_id != key.id and not key.admin):
            raise _not_found(message_id)
        return message

    async def _bring(self, key_id: str, message_id: str) -> None:
        """Bring the head of a line to its run."""
        admission: Admission | None = None
        try:
            key = self._services.keys.usable(key_id)
            admission = await self._admitted(key)
            await self._places.acquire()
        except GatewayError as refusal:  # the key is gone
            await self._refuse(message_id, refusal)
        except BaseException:
            self._leave(admission)
            raise
        else:
            keep(self._run(key_id, message_id, admission), self._tasks, message_id)

    async def _admitted(self, key: Key) -> Admission | None:
        """Wait until the key's own limits let a call in."""
        while not key.limits.unlimited:
            admission = Admission(key)
            try:
                await self._services.limiter.admit(admission)
            except RateLimited as refusal:
                self._leave(admission)
                await asyncio.sleep(refusal.retry_after)
                key = self._services.keys.usable(key.id)
            except BaseException:
                self._leave(admission)
                raise
            else:
                return admission
        return None

    async def _run(self, key_id: str, message_id: str, admission: Admission | None) -> None:
        """Run a message, and keep what came of it."""
        try:
            await self._run_in_place(message_id, admission)
        except RateLimited as refusal:  # a budget, or tokens by the minute: again, when there is room
            self._table.requeue(message_id)
            self._join_later(refusal.retry_after, key_id, message_id)
        except Exception:
            log.exception("An asynchronous message cannot be run now", extra={"request_id": message_id})
            self._join_later(AGAIN_AFTER, key_id, message_id)
        finally:
            self._leave(admission)
            self._places.release()

    async def _run_in_place(self, message_id: str, admission: Admission | None) -> None:
        message = await self._table.find(message_id)
        if message is None or message.status != "queued":  # canceled while it waited
            return
        try:
            key = self._services.keys.usable(message.key_id)
        except GatewayError as refusal:
            await self._refuse(message_id, refusal)
            return
        try:  # before it is taken for a run: what cannot be read now is read again later
            body = await self._content.read(message.request_content)
        except ContentGone:
            await self._refuse(message_id, NotFound("what was asked is not kept any more"))
            return
        call = call_for(self._services, message, key, admission)
        self._services.calls.add(call)
        self._calls[message_id] = call
        try:
            if self._services.draining or not await self._table.start(message_id):
                return
            ending = await run(call, body)
        finally:  # from here on nobody ends it: what is paid for is kept
            self._calls.pop(message_id, None)
            self._services.calls.discard(call)
        self._services.finish(call)
        values: dict[str, Any] = {
            "cost": call.cost_nanodollars or 0,
            "estimated": call.usage is not None
            and (call.usage.estimated or not self._services.prices.knows(call.usage.model)),
            "upstream_request_id": call.upstream_request_id,
        }
        await self._close(message, ending, values)

    async def _refuse(self, message_id: str, refusal: GatewayError) -> None:
        """End a message that must not run."""
        if await self._table.start(message_id):
            message = await self._table.find(message_id)
            assert message is not None
            await self._close(message, failure(refusal), {"cost": 0, "estimated": False})

    async def _close(self, message: AsyncMessage, ending: Ending, values: dict[str, Any]) -> None:
        lifetime = self._settings.async_message_retention_days * DAY
        now = int(self._now() * 1000)
        values |= {
            "status": ending.status,
            "http_status": ending.http_status,
            "ended_at": now,
            "expires_at": now + int(lifetime * 1000),
        }
        if ending.answer is not None:
            values["answer_content"] = await self._keep(message, ending.answer, lifetime)
            if values["answer_content"] is None:
                values |= {"status": "failed", "http_status": ServiceUnavailable.status}
        self._table.finish(message.id, values)
        with contextlib.suppress(GatewayError):  # it goes at its end then
            await self._content.delete(message.request_content)

    async def _keep(self, message: AsyncMessage, answer: bytes, lifetime: float) -> str | None:
        """Store an answer; None when there was no room for it for too long."""
        for delay in STORE_AGAIN_AFTER:
            try:
                return (await self._content.put(message.key_id, KIND, answer, lifetime=lifetime)).id
            except Exception:
                log.exception("An answer cannot be stored", extra={"request_id": message.id})
            await asyncio.sleep(delay)
        return None

    def _join_later(self, delay: float, key_id: str, message_id: str) -> None:
        def join() -> None:
            if not self._closing:
                self._lines.join(key_id, message_id)

        asyncio.get_running_loop().call_later(delay, join)

    def _leave(self, admission: Admission | None) -> None:
        """Free the place in the key's limits, unless the call's settlement has done so."""
        if admission is not None and not admission.released:
            self._services.limiter.release(admission)

    async def _take_over(self) -> None:
        """Look after what died processes have left."""
        over: list[str] = []
        for message in await self._table.take_over():
            if message.finished:  # it never runs again
                over.append(message.request_content)
            else:
                self._lines.join(message.key_id, message.id)
        if over:  # deleted when all others stand in line, as this may fail
            await self._content.delete(*over)

    async def _watch(self) -> None:
        looks = 0
        while True:
            try:
                if looks % TAKE_OVER_EVERY == 0 and not self._services.draining:
                    await self._take_over()
                if self._calls:
                    for message_id in await self._table.canceled_of(self._calls):
                        if message_id in self._calls:
                            cancel(self._calls[message_id])
            except Exception:
                log.exception("Asynchronous messages cannot be looked after")
            looks += 1
            await asyncio.sleep(LOOK_AFTER)


def _not_found(message_id: str) -> NotFound:
    return NotFound(f"{message_id} was not found")
