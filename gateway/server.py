"""Run the gateway: one uvicorn server that finishes what it has begun before it stops listening."""

import asyncio
import contextlib
import gc
import logging
import math
import signal
import socket
from collections.abc import AsyncIterator
from types import FrameType
from typing import Any

import uvicorn
import uvloop

from gateway import __version__
from gateway.app import create_app
from gateway.folders import check_writable
from gateway.logs import configure
from gateway.protocol import Http, look_at, patient
from gateway.services import LAST_WORDS_SECONDS, Services
from gateway.settings import Settings, SettingsError

logger = logging.getLogger("gateway")

KEEP_ALIVE_SECONDS = 75
"""Longer than the pools of the usual clients keep idle connections, so that the client closes first."""

UNSENT_BYTES = 65_536
"""As much as uvicorn keeps of its own before it waits for a caller to read."""


class Server(uvicorn.Server):
    """A server that drains: on a signal it refuses new work, ends what runs, and closes its listeners last.

    The stock server closes its listeners first, and callers would see refused connections instead of a 503.
    """

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self.services = services
        self._draining: asyncio.Task[None] | None = None
        patience = services.settings.caller_timeout
        config.http = patient(patience, services.refused_unread)
        self._look_every = max(1, min(10, int(patience)))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by uvicorn for SIGTERM and SIGINT; a second signal ends the wait."""
        if self._draining is None:
            logger.info("Shutdown begins", extra={"signal": signal.Signals(sig).name})
            self._draining = asyncio.get_running_loop().create_task(self._drain())
        else:
            asyncio.get_running_loop().call_soon_threadsafe(self.services.stop_calls)

    async def _drain(self) -> None:
        loop, grace = asyncio.get_running_loop(), self.services.settings.shutdown_grace_seconds
        end = loop.time() + grace
        await self.services.drain(grace)
        # A caller that does not read must not keep the process alive: for the bytes that are still on their
        # way to it, uvicorn would wait for ever.
        self.config.timeout_graceful_shutdown = math.ceil(max(end - loop.time(), LAST_WORDS_SECONDS))
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second."""
        if counter % self._look_every == 0:
            look_at(self.server_state.connections, asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Listen, and say where."""
        await super().startup(sockets)  # type: ignore[arg-type]
        for server in self.servers:
            for listener in server.sockets:
                limit_unsent(listener)
        gc.collect()
        gc.freeze()  # what was made for good is not looked through again
        gc.set_threshold(50_000, 20, 100)
        gc.enable()


def limit_unsent(listener: Any) -> None:
    """Bound what the kernel takes in and cannot send yet, on each connection that a socket accepts.

    Otherwise its buffer grows to 4 MB for a caller who does not read, and what a stream keeps of the message
    that it has passed on grows as much. Bytes on their way do not count: far callers are served as fast.
    """
    if hasattr(socket, "TCP_NOTSENT_LOWAT") and listener.family in (socket.AF_INET, socket.AF_INET6):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def run(settings: Settings) -> None:
    """Serve until a signal says stop.

    Raises:
        SettingsError: a folder that must be written cannot be, or more than one process is asked for.
    """
    if settings.workers > 1:
        raise SettingsError(
            ["WORKERS: this version serves with one process; run replicas behind a proxy instead"]
        )
    check_writable(settings)
    configure(settings)
    gc.disable()  # until the server listens: looking for garbage is a third of a second of the start
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


async def serve(settings: Settings) -> None:
    """Serve in the running loop until a signal says stop."""
    async with _upstream_url(settings) as upstream_url:
        services = Services(settings, upstream_url)
        config = uvicorn.Config(
            create_app(services),
            host=settings.host,
            port=settings.port,
            ssl_certfile=settings.tls_cert_file,
            ssl_keyfile=settings.tls_key_file,
            http=Http,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        logger.info("Gateway starts", extra={"version": __version__, "upstream": settings.upstream})
        await Server(config, services).serve()
    logger.info("Gateway stopped")


@contextlib.asynccontextmanager
async def _upstream_url(settings: Settings) -> AsyncIterator[str | None]:
    """The address of the embedded sandbox, which runs as long as the server, or None for Anthropic."""
    if settings.upstream != "sandbox":
        yield None
        return
    import sandbox  # noqa: PLC0415 - a program of its own, which only this setting needs

    async with sandbox.serve("127.0.0.1", 0) as url:
        logger.warning("Answers come from the embedded sandbox, not from Anthropic", extra={"sandbox": url})
        yield url
