"""Run the gateway: one uvicorn server that finishes what it has begun before it stops listening."""

import asyncio
import gc
import logging
import math
import multiprocessing
import signal
import socket
from types import FrameType
from typing import Any

import uvicorn
import uvloop

from gateway import __version__
from gateway.app import create_app
from gateway.folders import check_writable
from gateway.logs import configure
from gateway.metrics.workers import Worker
from gateway.opening import embedded_upstream
from gateway.protocol import look_at, patient
from gateway.services import LAST_WORDS_SECONDS, Services
from gateway.settings import Settings

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
        self._look_every = max(1, min(10, int(services.settings.caller_timeout)))

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


class WorkerServer(Server):
    """One of several: its supervisor speaks to it by SIGTERM, and it does not outlive it."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGINT is left to the supervisor: a terminal sends it to both, and a second one cuts calls off."""
        if sig != signal.SIGINT:
            super().handle_exit(sig, frame)

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Accept connections until the supervisor says stop, or is gone."""
        await super().startup(sockets)
        parent = multiprocessing.parent_process()
        assert parent is not None
        loop, sentinel = asyncio.get_running_loop(), parent.sentinel

        def orphaned() -> None:
            loop.remove_reader(sentinel)
            self.handle_exit(signal.SIGTERM, None)

        loop.add_reader(sentinel, orphaned)


def run(settings: Settings) -> None:
    """Serve with this process until a signal says stop.

    Raises:
        SettingsError: a folder that must be written cannot be.
    """
    check_writable(settings)
    configure(settings)
    gc.disable()  # until the server listens: looking for garbage is a third of a second of the start
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


def work(settings: Settings, upstream_url: str | None, worker: Worker, listener: socket.socket) -> None:
    """Serve as one of several processes (`gateway.supervisor`) until a signal says stop.

    Args:
        settings: the operator's settings.
        upstream_url: the embedded sandbox; the settings' address when None.
        worker: which one.
        listener: the socket from which all accept.
    """

    async def accept() -> None:
        services = Services(settings, upstream_url, worker)
        await WorkerServer(_config(settings, services), services).serve(sockets=[listener])

    configure(settings)
    gc.disable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(accept())


async def serve(settings: Settings) -> None:
    """Serve in the running loop until a signal says stop."""
    async with embedded_upstream(settings) as upstream_url:
        services = Services(settings, upstream_url)
        config = _config(settings, services)
        logger.info("Gateway starts", extra={"version": __version__, "upstream": settings.upstream})
        await Server(config, services).serve()
    logger.info("Gateway stopped")


def _config(settings: Settings, services: Services) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(services),
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.tls_cert_file,
        ssl_keyfile=settings.tls_key_file,
        interface="asgi3",
        http=patient(settings.caller_timeout, services.refused_unread),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
