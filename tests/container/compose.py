"""Docker Compose as a user drives it, under a project name and on a port of its own."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.settings import VARIABLES
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
NETWORK = "solomon_network"
UP_SECONDS = 120
READ_BY_COMPOSE = {"PUID", "PGID", "MEMORY_LIMIT", "DATA_VOLUME", "LOG_VOLUME", "CONFIG_VOLUME"}

Result = subprocess.CompletedProcess[str]


@dataclass
class Project:
    """One installation by Compose.

    Args:
        name: the project's name, and the prefix of its volumes.
        override: a Compose file that moves the published port.
        port: where it is published, on the loopback.
        variables: what a user would write into `.env`.
    """

    name: str
    override: Path
    port: int
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self, *arguments: str) -> list[str]:
        files = ["--file", str(ROOT / "docker-compose.yml"), "--file", str(self.override)]
        return [
            "docker",
            "compose",
            "--project-name",
            self.name,
            "--env-file",
            os.devnull,
            *files,
            *arguments,
        ]

    def environment(self) -> dict[str, str]:
        ours = VARIABLES | READ_BY_COMPOSE
        return {name: value for name, value in os.environ.items() if name not in ours} | dict(self.variables)

    def run(self, *arguments: str, check: bool = True) -> Result:
        """Run a Compose command to its end."""
        return _run(self.command(*arguments), check=check, env=self.environment())

    def up(self) -> None:
        """Start the gateway and wait until Docker calls it healthy."""
        self.run("up", "--detach", "--wait", "--wait-timeout", str(UP_SECONDS), "gateway")

    @property
    def container(self) -> str:
        return self.run("ps", "--all", "--quiet", "gateway").stdout.strip()

    def inspect(self) -> dict[str, Any]:
        """What Docker says of the gateway's container."""
        shown: dict[str, Any] = json.loads(docker("inspect", self.container).stdout)[0]
        return shown

    def python(self, code: str) -> str:
        """What a piece of Python prints inside the running container."""
        return docker("exec", self.container, "python", "-c", code).stdout

    def admin_key(self) -> str:
        """The admin key of the first start, read as the documentation says."""
        return docker("exec", self.container, "cat", "/data/admin-key").stdout.strip()

    def logs(self) -> str:
        """Everything that the gateway has written to stdout and stderr, over all its starts."""
        shown = docker("logs", self.container)
        return shown.stdout + shown.stderr

    def down(self) -> None:
        """Remove containers and volumes."""
        self.run("down", "--volumes", "--timeout", "5", check=False)


def docker(*arguments: str, check: bool = True) -> Result:
    return _run(["docker", *arguments], check=check, env=dict(os.environ))


def _run(command: list[str], *, check: bool, env: dict[str, str]) -> Result:
    result = subprocess.run(
        command, check=False, capture_output=True, text=True, env=env, cwd=ROOT, timeout=600
    )
    assert not check or result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
    return result


@contextmanager
def network() -> Iterator[None]:
    """The external network that the user makes before the first start."""
    made = docker("network", "create", NETWORK, check=False).returncode == 0
    try:
        yield
    finally:
        if made:
            docker("network", "rm", NETWORK)


@contextmanager
def project(folder: Path, name: str, **variables: str) -> Iterator[Project]:
    """An installation with these variables; it is not started yet, and gone at the end."""
    port = free_port()
    override = folder / "port.yml"
    override.write_text(f'services: {{gateway: {{ports: !override ["127.0.0.1:{port}:8000"]}}}}\n')
    installed = Project(f"gateway-test-{os.getpid()}-{name}", override, port, variables)
    try:
        yield installed
    finally:
        installed.down()


def call(method: str, url: str, key: str, body: object = None) -> tuple[int, Any]:
    """One call with a JSON body; returns status and the answer's JSON."""
    request = urllib.request.Request(
        url,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"x-api-key": key, "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)


def healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.05)
