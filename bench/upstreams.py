"""The upstreams of a run: nginx for JSON answers, `bench.load.sse_server` for event streams."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import nginx
from bench.servers import Server, free_port
from bench.subjects import ROOT


@contextmanager
def static(folder: Path, core: int) -> Iterator[int]:
    """An nginx that answers every POST with one message; yields its port."""
    port = free_port()
    command = nginx.upstream_command(folder / "nginx-upstream", port)
    with _pinned("upstream", command, port, folder, core) as server:
        server.wait_ready()
        yield port


@contextmanager
def streaming(folder: Path, core: int, *options: str) -> Iterator[int]:
    """A `bench.load.sse_server` with the given command-line `options`; yields its port."""
    port = free_port()
    command = [sys.executable, "-m", "bench.load.sse_server", "--port", str(port), *options]
    with _pinned("upstream", command, port, folder, core) as server:
        server.wait_ready()
        yield port


def _pinned(name: str, command: list[str], port: int, folder: Path, core: int) -> Server:
    log = folder / f"{name}.log"
    return Server(name, command, core=core, log=log, ready_url=f"http://127.0.0.1:{port}/health", cwd=ROOT)
