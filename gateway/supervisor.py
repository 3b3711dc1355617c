"""Serve with several processes (WORKERS): start them, replace what dies, stop them together (docs/adr/0012).

Each worker accepts from a socket of its own, among which the kernel spreads connections (SO_REUSEPORT):
from one that is shared, the worker that wakes first takes them all. The supervisor holds the sockets, so that
connections wait while a worker is replaced, and answers nothing itself. What workers have to share stands in
the database, in Redis, and for the metrics in a folder that lives as long as the supervisor.
"""

import asyncio
import contextlib
import itertools
import logging
import multiprocessing
import signal
import socket
import tempfile
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import uvloop

from gateway.faults import OperatorFault
from gateway.folders import check_writable
from gateway.logs import configure
from gateway.metrics.scrape import DESCRIPTIONS
from gateway.metrics.workers import Worker, bury
from gateway.opening import embedded_upstream, open_keys, open_store
from gateway.prices import PriceTable
from gateway.settings import Settings

logger = logging.getLogger("gateway")

BACKLOG = 2048
"""Connections that wait to be accepted."""

SHORT_LIFE = 10.0
"""Seconds: a worker that dies sooner is not started anew at once, as it may do no better."""

PAUSE = 1.0
"""Seconds until it is."""

_processes = multiprocessing.get_context("forkserver")
"""Forks workers from a process that has loaded all and does nothing else: a new one is there in no time."""


def run(settings: Settings) -> None:
    """Serve with `settings.workers` processes until a signal says stop.

    Raises:
        OperatorFault: the address is taken, or what the settings name cannot be used.
        OSError: a folder cannot be written.
    """
    check_writable(settings)
    configure(settings)
    _prepare(settings)
    _processes.set_forkserver_preload(["gateway.lean", "gateway.server"])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_supervise(settings))


def _prepare(settings: Settings) -> None:
    """Do once what each worker would do at its start, and meet the operator's faults here."""
    PriceTable.load(settings.config_dir / "prices.toml")
    store = open_store(settings)
    try:
        open_keys(settings, store)
    finally:
        store.close_now()


async def _supervise(settings: Settings) -> None:
    async with embedded_upstream(settings) as upstream_url:
        with tempfile.TemporaryDirectory(prefix="gateway-workers-") as folder:
            await Supervisor(settings, upstream_url, Path(folder)).serve()
    logger.info("Gateway stopped")


class Supervisor:
    """Keeps workers running.

    Args:
        settings: the operator's settings.
        upstream_url: the embedded sandbox, which the workers share; None for the settings' address.
        folder: where they leave their metrics for each other.

    Raises:
        OperatorFault: HOST and PORT cannot be listened on.
    """

    def __init__(self, settings: Settings, upstream_url: str | None, folder: Path) -> None:
        self._settings = settings
        self._upstream_url = upstream_url
        self._folder = folder
        self._numbers = itertools.count(1)
        self._running: set[ForkServerProcess] = set()
        self._stopping = asyncio.Event()
        self._address = _free_address(settings.host, settings.port)
        self._listeners = {place: self._listen() for place in range(1, settings.workers + 1)}

    async def serve(self) -> None:
        """Run the workers until a signal says stop and the last one has finished."""
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self._stop)
        scheme = "http" if self._settings.tls_cert_file is None else "https"
        host, port = self._address
        logger.info(
            "Uvicorn running on %s://%s:%d (%d workers)",
            scheme,
            f"[{host}]" if ":" in host else host,
            port,
            self._settings.workers,
        )
        async with asyncio.TaskGroup() as group:
            for place in self._listeners:
                group.create_task(self._keep(place))

    def _stop(self) -> None:
        """Pass a signal on: on the first one workers drain, a second one ends what they wait for."""
        self._stopping.set()
        for listener in self._listeners.values():
            listener.close()  # from now on it ends with its worker
        for process in self._running:
            process.terminate()

    def _listen(self) -> socket.socket:
        return socket.create_server(
            self._address, family=_family(self._address[0]), backlog=BACKLOG, reuse_port=True
        )

    async def _keep(self, place: int) -> None:
        """Keep one place filled."""
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            number, started = next(self._numbers), loop.time()
            process = self._start(place, number)
            await _end(process)
            self._running.discard(process)
            try:
                bury(self._folder, number, DESCRIPTIONS)
            except OSError:  # a full disk costs its counts, not the service
                logger.exception("What a worker has counted cannot be kept")
            if self._stopping.is_set():
                return
            logger.error("A worker died", extra={"worker": place, "exit_code": process.exitcode})
            if loop.time() - started < SHORT_LIFE:
                self._listeners[place].close()  # others shall get its connections meanwhile
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), PAUSE)
                    return
                self._listeners[place] = self._listen()

    def _start(self, place: int, number: int) -> ForkServerProcess:
        settings = self._settings
        if settings.log_dir is not None:  # two processes cannot rotate one file
            settings = settings.model_copy(update={"log_dir": settings.log_dir / f"worker-{place}"})
        worker = Worker(number, self._folder)
        arguments = (settings, self._upstream_url, worker, self._listeners[place])
        process = _processes.Process(target=_work, args=arguments, name=f"worker-{place}")
        process.start()
        self._running.add(process)
        return process


def _free_address(host: str, port: int) -> tuple[str, int]:
    """An address that nobody listens on; port 0 becomes a free one.

    With SO_REUSEPORT a second gateway of the same user would silently take half of the connections: this asks
    for the address without it.
    """
    try:
        with socket.create_server((host, port), family=_family(host)) as probe:
            found: tuple[str, int] = probe.getsockname()[:2]
            return found
    except OSError as error:
        raise OperatorFault(f"HOST, PORT: cannot listen on {host}, port {port}: {error.strerror}") from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


async def _end(process: ForkServerProcess) -> None:
    """Wait until a process is gone."""
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(process.sentinel, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(process.sentinel)
    process.join()


def _work(settings: Settings, upstream_url: str | None, worker: Worker, listener: socket.socket) -> None:
    """A worker's life."""
    from gateway import server  # noqa: PLC0415 - the supervisor does without it, and without its memory

    server.work(settings, upstream_url, worker, listener)
