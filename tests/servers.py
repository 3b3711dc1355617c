"""Real PostgreSQL and Redis servers on loopback, for tests that need one. Where one is missing CI fails."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

DEADLINE = 30.0


def binary(name: str) -> str:
    """The path of a server's program. Without it the test is skipped, in CI it fails."""
    found = shutil.which(name)
    if found is None:
        candidates = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        found = str(candidates[-1]) if candidates else None
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def hold() -> socket.socket:
    """A socket that is bound to a port of loopback and does not listen: who connects is refused.

    As long as it is open the kernel gives the port to no connection and to nobody who asks for any. A server
    may bind it all the same, where it sets SO_REUSEADDR.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


_HELD: list[socket.socket] = []


def held_port() -> int:
    """A free port for a server that cannot choose one by itself; it stays free for it until the tests end."""
    _HELD.append(hold())
    return int(_HELD[-1].getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server ended with {process.returncode}"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"no server on port {port} after {DEADLINE} s")


@contextmanager
def postgres() -> Iterator[str]:
    """Run PostgreSQL; yields the URL of its first database, without a driver."""
    initdb, server = binary("initdb"), binary("postgres")
    account = _other_account() if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="gateway-postgres-"))
    identity = {}
    if account is not None:  # PostgreSQL refuses to run as root
        os.chown(folder, account.pw_uid, account.pw_gid)
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    data, port = folder / "data", held_port()
    options = ["-A", "trust", "-U", "gateway", "-E", "UTF8", "--no-sync"]
    subprocess.run([initdb, "-D", data, *options], check=True, capture_output=True, cwd=folder, **identity)
    arguments = ["-h", "127.0.0.1", "-p", str(port), "-k", str(folder), "-c", "fsync=off"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [server, "-D", data, *arguments], cwd=folder, stdout=log, stderr=log, **identity
        )
    try:
        wait_for(port, process)
        yield f"postgresql://gateway@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown: it does not wait for clients
        process.wait(DEADLINE)
        shutil.rmtree(folder)


@contextmanager
def redis() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run Redis; yields its URL and its process."""
    port = held_port()
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]
    process = subprocess.Popen([binary("redis-server"), *arguments], stdout=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        yield f"redis://127.0.0.1:{port}/0", process
    finally:
        process.kill()
        process.wait(DEADLINE)


def _other_account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.fail("no account to run PostgreSQL with")
