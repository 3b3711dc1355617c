"""Open what the settings name: for the server, and for commands that work beside it."""

import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

from gateway.keys import Budget, KeyRing, Limits, admin_key
from gateway.limits import Limiter
from gateway.prices import nanodollars
from gateway.settings import Settings
from gateway.store import Store

logger = logging.getLogger("gateway")


def open_store(settings: Settings) -> Store:
    """The database that the settings name, its schema brought up to date.

    Raises:
        gateway.store.StoreError: it cannot be opened, or its schema is newer than this version.
        OSError: DATA_DIR cannot be written.
    """
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
    else:
        file = settings.data_dir.resolve() / "gateway.db"
        file.touch(mode=0o600)  # SQLite would make it readable by others, and its -wal and -shm like it
        url = f"sqlite:///{file}"
    return Store(url, settings.data_dir / "snapshots")


def open_keys(settings: Settings, store: Store) -> KeyRing:
    """All keys, and the admin key: the settings' own, or the one in DATA_DIR, made at first start."""
    admin: str | Path
    if settings.gateway_admin_key is not None:
        admin = settings.gateway_admin_key.get_secret_value()
    else:
        admin, made = admin_key(settings.data_dir)
        logger.info(
            "An admin key was made" if made else "The admin key is in its file", extra={"path": str(admin)}
        )
    limits = Limits(
        settings.default_requests_per_minute,
        settings.default_input_tokens_per_minute,
        settings.default_output_tokens_per_minute,
        settings.default_concurrency,
    )
    budget = Budget(
        *(
            None if usd is None else nanodollars(usd)
            for usd in (settings.default_usd_per_day, settings.default_usd_per_month)
        )
    )
    return KeyRing(store, admin, limits, budget)


def open_limiter(settings: Settings) -> Limiter:
    """The limits of all keys, counted in this process or in Redis."""
    url = settings.rate_limit_storage.get_secret_value()
    if url.startswith("memory:"):
        return Limiter()
    from gateway.limits.shared import SharedCounters  # noqa: PLC0415 - the client of Redis, which few need

    return Limiter(SharedCounters(url))


@contextlib.asynccontextmanager
async def embedded_upstream(settings: Settings) -> AsyncIterator[str | None]:
    """The address of the embedded sandbox, which runs as long as the server, or None for Anthropic."""
    if settings.upstream != "sandbox":
        yield None
        return
    import sandbox  # noqa: PLC0415 - a program of its own, which only this setting needs

    async with sandbox.serve("127.0.0.1", 0) as url:
        logger.warning("Answers come from the embedded sandbox, not from Anthropic", extra={"sandbox": url})
        yield url
