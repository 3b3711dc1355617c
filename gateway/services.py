"""What the handlers and middlewares stand on, made once a process and reached through `call.services`."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

import openapi
from gateway.accounting import Accounting
from gateway.async_messages import AsyncMessages
from gateway.audit import Audit
from gateway.batch_costs import BatchCosts
from gateway.call import Call
from gateway.catalog import Catalog, Operation, resolve
from gateway.console_page import load_console
from gateway.content import Content
from gateway.docs_page import load_docs
from gateway.ended_batches import EndedBatches
from gateway.errors import Dialect, GatewayError, Headers, PermissionDenied
from gateway.idempotency import IdempotencyKeys
from gateway.keys import ADMIN_SCOPE, WrongKeys
from gateway.large_bodies import LargeBodies
from gateway.ledger import Ledger, Tally
from gateway.ledger.instances import in_use
from gateway.logs import RequestLog
from gateway.metrics import OTHER, Metrics
from gateway.metrics.scrape import Scrape
from gateway.metrics.workers import Worker
from gateway.opening import open_keys, open_limiter, open_store
from gateway.origin import client_address
from gateway.pool import Answer
from gateway.prices import PriceTable
from gateway.reconcile import Reconciliation
from gateway.settings import ANTHROPIC_URL, Settings
from gateway.tracing import open_tracing
from gateway.upkeep import Upkeep
from gateway.upstream import Exchange, Upstream
from gateway.walls import Walls
from gateway.watch import Watch
from gateway.webhooks import Webhooks
from openapi.validation import Schemas

logger = logging.getLogger("gateway")

DIALECTS: tuple[Dialect, ...] = ("native", "envelope")
ORGANIZATION = "organization"
ORGANIZATIONS = b"/v1/organizations/"
"""Where Anthropic wants an admin key."""

AUDITED_REFUSALS = frozenset(
    {"auth", "permission", "not_found", "budget", "rpm", "itpm", "otpm", "concurrency"}
)
"""Refusals that the audit trail holds: those by a key's rights, limits and budget."""

DATABASE_SECONDS = 2.0
"""How long the database may take to answer the readiness check."""

LAST_WORDS_SECONDS = 2.0
"""What streams get to send their last event when the shutdown grace is over."""

NOSNIFF = (b"x-content-type-options", b"nosniff")
"""No answer is taken for a page or a script that does not say so, whatever was uploaded."""

FROM_SANDBOX = (b"x-gateway-upstream", b"sandbox")
"""Nobody shall take its answers for Anthropic's."""

UNLISTED = Operation(
    id="unlisted",
    dialect="native",
    method="*",
    path="/v1/*",
    tag="forward",
    spec={"responses": {}},
    parameters=(),
    scope=ADMIN_SCOPE,
    forward=True,
    audit=True,
    handler="handlers.native.forward.forward",
)
"""Stands for the paths under `/v1` that the spec lacks; they are relayed for admins only."""


class Services:
    """Everything that lives as long as the process.

    Args:
        settings: the operator's settings.
        upstream_url: the embedded sandbox; the settings' address when None.
        worker: this one of several processes; None where it is the only one.

    Raises:
        gateway.store.StoreError: the database cannot be opened.
        gateway.prices.PriceError: the operator's own prices cannot be read.
        OSError: DATA_DIR cannot be written.
    """

    def __init__(
        self, settings: Settings, upstream_url: str | None = None, worker: Worker | None = None
    ) -> None:
        self.settings = settings
        self.prices = PriceTable.load(settings.config_dir / "prices.toml")
        self.store = open_store(settings)
        self.keys = open_keys(settings, self.store)
        self.wrong_keys = WrongKeys()
        self.walls = Walls(self.store)
        self.limiter = open_limiter(settings)
        database = Path(self.store.engine.url.database or "")
        if self.limiter.shared is None and self.store.embedded and in_use(database):
            logger.warning(
                "Another gateway runs on this database: without Redis each counts limits for itself",
                extra={"path": str(database)},
            )
        self.ledger = Ledger(self.store, self.prices, settings.budget_timezone)
        self.accounting = Accounting(self.ledger, self.limiter)
        self.audit = Audit(self.store, settings.log_dir)
        self.sandbox = upstream_url is not None
        self.upstream_url = upstream_url or settings.anthropic_base_url or ANTHROPIC_URL
        self.bundles: Mapping[Dialect, dict[str, Any]] = {name: openapi.load(name) for name in DIALECTS}
        self.schemas = {name: Schemas(bundle) for name, bundle in self.bundles.items()}
        self.catalog = Catalog(self.bundles)
        self.docs = load_docs()
        self.console = load_console()
        self.unlisted = UNLISTED
        self.content = Content(self.store, settings.data_dir / "results")
        self.webhooks = Webhooks(
            self.store,
            settings.batch_webhook_url,
            settings.batch_webhook_secret,
            private=settings.batch_webhook_private,
        )
        self.ended_batches = EndedBatches(
            self.store, self.content, settings.batch_results_days, self.webhooks, self.keys.name
        )
        self.batch_costs = BatchCosts(
            self.store, self.ledger, self.walls, self.ended_batches, self._ask_upstream, self._batch_booked
        )
        self.idempotency = IdempotencyKeys(self.store, self.content, self.ledger.instance_id)
        self.async_messages = AsyncMessages(self)
        expiring = {
            "contents": self.content.expire,
            "idempotency_keys": self.idempotency.expire,
            "async_messages": self.async_messages.expire,
            "ended_batches": self.ended_batches.expire,
            "webhook_messages": self.webhooks.expire,
        }
        self.upkeep = Upkeep(settings, self.store, self.ledger, self.audit, expiring)
        self.reconciliation: Reconciliation | None = None
        if settings.anthropic_admin_key is not None and not self.sandbox:
            self.reconciliation = Reconciliation(self.store, self._ask_as_admin)
        self.metrics = Metrics(worker and worker.folder)
        self.scrape = Scrape(self, worker)
        self.request_log = RequestLog(settings)
        self.tracing = open_tracing(settings, self.upstream_url)
        self.response_headers: Headers = [NOSNIFF, *([FROM_SANDBOX] if self.sandbox else [])]
        self.calls: set[Call] = set()
        self.watch = Watch()
        self.large_bodies = LargeBodies()
        self.draining = False
        self._upstream: Upstream | None = None
        self._admin_upstream: Upstream | None = None

    async def start(self) -> None:
        """Open what needs the running loop."""
        await self.keys.start()
        await self.ledger.start()
        await self.limiter.start()
        await self.upkeep.start()
        key = self.settings.anthropic_api_key
        secret = key.get_secret_value() if key else "sandbox"
        self._upstream = Upstream(self.settings, self.upstream_url, secret, self.metrics)
        admin = self.settings.anthropic_admin_key
        if admin is not None or self.sandbox:
            secret = admin.get_secret_value() if admin else "sandbox"
            self._admin_upstream = Upstream(self.settings, self.upstream_url, secret, self.metrics)
        await self.batch_costs.start()
        await self.async_messages.start()
        await self.webhooks.start()
        if self.reconciliation is not None:
            await self.reconciliation.start()
        await self.scrape.start()

    async def close(self) -> None:
        """Close what `start` opened, and write what is waiting."""
        parts: tuple[Any, ...] = (
            self.scrape, self.async_messages, self.large_bodies, self.batch_costs, self.webhooks,
            self.reconciliation, self._upstream, self._admin_upstream, self.upkeep, self.idempotency,
            self.keys, self.ledger, self.limiter, self.audit, self.store, self.tracing,
        )  # fmt: skip
        for part in filter(None, parts):
            try:
                await part.close()
            except Exception:  # one that cannot write any more must not keep the others open
                logger.exception("%s cannot be closed", type(part).__name__)
        self._upstream = self._admin_upstream = None
        self.request_log.flush()

    async def checks(self) -> dict[str, bool]:
        """Each thing that requests need, and whether it is there."""
        return {"clients": self.initialized, "database": await self._database_answers()}

    async def _database_answers(self) -> bool:
        try:
            if self.store.file is not None:
                self.store.file.check()
            if self.store.writer.failing:
                return False
            async with asyncio.timeout(DATABASE_SECONDS):
                await self.store.read(_ask)
        except Exception:
            logger.exception("The database does not answer")
            return False
        return True

    @property
    def initialized(self) -> bool:
        """Whether there is a client for upstream."""
        return self._upstream is not None

    def upstream(self, call: Call) -> Upstream:
        """The upstream client with the credential that a call needs.

        Raises:
            PermissionDenied: it needs ANTHROPIC_ADMIN_KEY, which is not set.
        """
        assert call.operation is not None
        if call.operation.scope != ORGANIZATION and not call.path.startswith(ORGANIZATIONS):
            assert self._upstream is not None
            return self._upstream
        if self._admin_upstream is None:
            raise PermissionDenied("the operator has set no ANTHROPIC_ADMIN_KEY, which this path needs")
        return self._admin_upstream

    def request_body(self, operation: Operation) -> Mapping[str, Any]:
        """The request body object of an operation, resolved; empty where it has none."""
        return resolve(self.bundles[operation.dialect], operation.spec.get("requestBody", {}))

    def model_label(self, model: str | None) -> str:
        """A model's name where the price table knows it, else `other`."""
        return model if model is not None and self.prices.knows(model) else OTHER

    def refused(self, call: Call, error: GatewayError) -> None:
        """Count what the gateway itself refuses; write down what concerns rights and limits."""
        if error.reason is None:
            return
        self.metrics.rejected(error.reason, None if call.key is None else call.key.name)
        if error.reason in AUDITED_REFUSALS and (call.key is not None or error.status == 401):
            actor = client_address(call) if call.key is None else call.key.id
            self.audit.refuse(actor, call.operation.id if call.operation else "", error.reason)

    def refused_unread(self, error: GatewayError) -> None:
        """Count what was refused before it was a request, and note it in the log, which has no line of it."""
        assert error.reason is not None
        self.metrics.rejected(error.reason, None)
        logger.info(
            "Refused before it was a request", extra={"status": error.status, "reason": error.message}
        )

    def finish(self, call: Call) -> None:
        """Close the books on a request."""
        self.accounting.settle(call)
        if call.operation is not None and call.operation.audit:
            self._audit(call, call.operation)
        if call.admission is not None and call.admission.waited is not None:
            self.metrics.queued(call.admission.waited)
        model = self.model_label(call.model)
        self.metrics.record(call, model)
        self.request_log.write(call, model)
        if call.trace is not None:
            call.trace.end()

    async def _ask_upstream(self, target: str) -> Answer:
        """Ask upstream something that no caller has asked."""
        assert self._upstream is not None
        return await self._ask(self._upstream, target)

    async def _ask_as_admin(self, target: str) -> Answer:
        assert self._admin_upstream is not None
        return await self._ask(self._admin_upstream, target)

    async def _ask(self, upstream: Upstream, target: str) -> Answer:
        retries, headers = self.settings.anthropic_max_retries, dict(upstream.default_headers)
        return await upstream.send(Exchange("GET", target, headers, retries=retries, streamed=True))

    def _batch_booked(self, key_id: str, tally: Tally) -> None:
        for model, line in tally.lines.items():
            self.metrics.booked(self.keys.name(key_id), self.model_label(model), line)

    def _audit(self, call: Call, operation: Operation) -> None:
        """Write down what was done, and what upstream may have done; refusals are written down elsewhere."""
        done = 0 < call.status < 400 or call.upstream_status or call.upstream_may_bill
        if call.key is None or not done:
            return
        detail: dict[str, Any] = {"status": call.status}
        if operation.goes_upstream:
            target = call.path.decode("latin-1")
        else:  # the body of our own operations holds names and numbers alone, never a secret
            target = call.audit_target or call.parameters.get("key_id", "")
            detail |= call.payload or {}
        self.audit.record(call.key.id, operation.id, target, detail)

    def stop_calls(self) -> None:
        """End what runs; streams say so in their last event."""
        for call in self.calls:
            call.stop()

    async def drain(self, grace: float) -> None:
        """Refuse new work, wait for what runs, and end what has not finished after `grace` seconds."""
        self.draining = True
        tasks = [call.task for call in self.calls if call.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        running = [call for call in self.calls if call.task is not None]
        if running:
            logger.warning("Shutdown grace is over", extra={"running": len(running)})
            self.stop_calls()
            await asyncio.wait(
                [call.task for call in running if call.task is not None], timeout=LAST_WORDS_SECONDS
            )


def _ask(connection: Connection) -> None:
    connection.execute(text("SELECT 1"))
