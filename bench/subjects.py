"""The servers under measurement: how each is started, and where on it a message is asked for."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from bench import nginx, peers
from bench.load.http import exchange
from bench.options import Options
from bench.payloads import API_VERSION
from bench.servers import Server, StartError, free_port

ROOT = Path(__file__).resolve().parent.parent
ADMIN_KEY = "sk-gw-bench-admin-0123456789abcdef0123456789abcdef"
_UPSTREAM_KEY = "sk-ant-bench"

# As an installed program has it: compiled once, whatever the environment of the bench says.
_BYTECODE = {"PYTHONDONTWRITEBYTECODE": ""}

# Every wall is up and none is hit: what is measured is the work of checking.
_APP_KEY = {
    "limits": {
        "requests_per_minute": 1_000_000_000,
        "input_tokens_per_minute": 1_000_000_000_000,
        "output_tokens_per_minute": 1_000_000_000_000,
        "concurrency": 100_000,
    },
    "budget": {"usd_per_day": 1_000_000, "usd_per_month": 10_000_000},
}


@dataclass(frozen=True)
class Target:
    """One URL that answers a message request, and the process behind it (None: the upstream itself)."""

    label: str
    url: str
    stream_url: str
    headers: Mapping[str, str]
    server: Server | None


@dataclass
class Bench:
    """One run: its folder, the cores it uses, and the upstream that the subjects are pointed at."""

    folder: Path
    gateway_core: int
    load_core: int
    upstream_port: int
    streaming: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, options: Options, upstream_port: int, *, streaming: bool = False) -> Self:
        """The run that `options` ask for, against the upstream on that port."""
        return cls(
            folder=options.folder,
            gateway_core=options.gateway_core,
            load_core=options.load_core,
            upstream_port=upstream_port,
            streaming=streaming,
            settings=options.settings,
        )

    @property
    def upstream(self) -> str:
        """Base URL of the upstream."""
        return f"http://127.0.0.1:{self.upstream_port}"

    @property
    def data(self) -> Path:
        """The gateway's data folder."""
        return self.folder / "data"

    def direct(self) -> Target:
        """The upstream without anything in between: the zero of every "added" figure."""
        return _native("direct", self.upstream, None, _UPSTREAM_KEY)


Starter = Callable[[Bench], tuple[Server, list[Target]]]


def _native(label: str, base: str, server: Server | None, key: str) -> Target:
    headers = {"content-type": "application/json", "anthropic-version": API_VERSION, "x-api-key": key}
    return Target(label, f"{base}/v1/messages", f"{base}/v1/messages", headers, server)


def _start_nginx(bench: Bench) -> tuple[Server, list[Target]]:
    port = free_port()
    command = nginx.proxy_command(
        bench.folder / "nginx-proxy",
        port,
        f"127.0.0.1:{bench.upstream_port}",
        buffering=not bench.streaming,
    )
    server = _server(bench, "nginx", command, port, "/health")
    return server, [_native("nginx", f"http://127.0.0.1:{port}", server, _UPSTREAM_KEY)]


def _uvicorn(bench: Bench, name: str, app: str, ready: str) -> tuple[Server, list[Target]]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--no-access-log", "--log-level", "warning"]
    env = {"ANTHROPIC_BASE_URL": bench.upstream, "ANTHROPIC_API_KEY": _UPSTREAM_KEY}
    server = _server(bench, name, command, port, ready, env)
    return server, [_native(name, f"http://127.0.0.1:{port}", server, "sk-gw-any")]


def _start_plain(bench: Bench) -> tuple[Server, list[Target]]:
    return _uvicorn(bench, "plain", "bench.baselines.connexion_plain:app", "/v1/health")


def _start_hello(bench: Bench) -> tuple[Server, list[Target]]:
    return _uvicorn(bench, "hello", "bench.baselines.hello:app", "/")


def _start_gateway(bench: Bench) -> tuple[Server, list[Target]]:
    port = free_port()
    env = {
        "ANTHROPIC_BASE_URL": bench.upstream,
        "ANTHROPIC_API_KEY": _UPSTREAM_KEY,
        "GATEWAY_ADMIN_KEY": ADMIN_KEY,
        "DATA_DIR": str(bench.data),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "SHUTDOWN_GRACE_SECONDS": "1",
        **bench.settings,
    }
    server = _server(bench, "gateway", [sys.executable, str(ROOT / "main.py")], port, "/health/ready", env)
    base = f"http://127.0.0.1:{port}"
    try:
        server.wait_ready()
        key = _app_key(base, f"bench-{port}")
    except BaseException:
        server.stop()
        raise
    native = _native("gateway /v1", base, server, key)
    create, stream = f"{base}/api/v1/messages/create", f"{base}/api/v1/messages/stream"
    return server, [native, Target("gateway /api/v1", create, stream, native.headers, server)]


def _start_litellm(bench: Bench) -> tuple[Server, list[Target]]:
    port = free_port()
    command = peers.litellm_command(bench.folder, port, bench.upstream, _UPSTREAM_KEY)
    server = _server(bench, "litellm", command, port, "/health/liveliness")
    return server, [_native("litellm", f"http://127.0.0.1:{port}", server, peers.LITELLM_KEY)]


def _start_portkey(bench: Bench) -> tuple[Server, list[Target]]:
    port = free_port()
    server = _server(bench, "portkey", peers.portkey_command(port), port, "/")
    target = _native("portkey", f"http://127.0.0.1:{port}", server, _UPSTREAM_KEY)
    return server, [replace(target, headers={**target.headers, **peers.portkey_headers(bench.upstream)})]


STARTERS: dict[str, Starter] = {
    "nginx": _start_nginx,
    "plain": _start_plain,
    "hello": _start_hello,
    "gateway": _start_gateway,
    "litellm": _start_litellm,
    "portkey": _start_portkey,
}


@contextmanager
def running(bench: Bench, names: list[str]) -> Iterator[list[Target]]:
    """Start the named subjects and yield all their targets; end them on leaving.

    Raises StartError when one of them does not become ready.
    """
    with ExitStack() as stack:
        targets: list[Target] = []
        for name in names:
            server, found = STARTERS[name](bench)
            stack.enter_context(server)
            server.wait_ready()
            targets += found
        yield targets


def _server(
    bench: Bench,
    name: str,
    command: list[str],
    port: int,
    ready: str,
    env: Mapping[str, str] | None = None,
) -> Server:
    return Server(
        name,
        command,
        core=bench.gateway_core,
        log=bench.folder / f"{name}.log",
        ready_url=f"http://127.0.0.1:{port}{ready}",
        env={**_BYTECODE, "PYTHONPYCACHEPREFIX": str(bench.folder / "pycache"), **(env or {})},
        cwd=ROOT,
    )


def _app_key(base: str, name: str) -> str:
    """Make an app key with limits and a budget, so that the measured path checks them."""
    headers = {"content-type": "application/json", "x-api-key": ADMIN_KEY}
    status, body = exchange(
        "POST", f"{base}/api/v1/keys", json.dumps(_APP_KEY | {"name": name}).encode(), headers
    )
    if status != 201:
        raise StartError(f"the gateway made no app key: {status} {body[:500]!r}")
    key: str = json.loads(body)["data"]["key"]
    return key
