"""Docker Compose as a user drives it, under a project name and on a port of its own."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.settings import VARIABLES
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yml"
NETWORK = "solomon_network"
UP_SECONDS = 120
READ_BY_COMPOSE = {"PUID", "PGID", "MEMORY_LIMIT", "DATA_VOLUME", "LOG_VOLUME", "CONFIG_VOLUME"}
SERVICES = ROOT / "tests/container/services"
KILL_SERVER = """
import os, pathlib, signal  # PID 1 is the init
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    if folder.name != "1" and (folder / "cmdline").read_bytes().endswith(b"\\0main.py\\0"):
        os.kill(int(folder.name), signal.SIGKILL)
"""
CPU_SECONDS = """
import os, pathlib
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    if folder.name != "1" and (folder / "cmdline").read_bytes().endswith(b"\\0main.py\\0"):
        user, system = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
        print((int(user) + int(system)) / os.sysconf("SC_CLK_TCK"))
"""

Result = subprocess.CompletedProcess[str]


@dataclass
class Project:
    """One installation by Compose.

    Args:
        name: the project's name, and the prefix of its volumes.
        files: its Compose files, the later ones changing the earlier.
        port: where the gateway is published, on the loopback.
        variables: what a user would set in the shell.
        env_file: the `.env`; the repository's own is never read.
    """

    name: str
    files: Sequence[Path]
    port: int
    variables: Mapping[str, str] = field(default_factory=dict)
    env_file: Path = Path(os.devnull)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self, *arguments: str) -> list[str]:
        """The words of a Compose command."""
        files = [word for file in self.files for word in ("--file", str(file))]
        options = ["--project-name", self.name, "--env-file", str(self.env_file)]
        return ["docker", "compose", *options, *files, *arguments]

    def environment(self) -> dict[str, str]:
        ours = VARIABLES | READ_BY_COMPOSE
        return {name: value for name, value in os.environ.items() if name not in ours} | dict(self.variables)

    def run(self, *arguments: str, check: bool = True) -> Result:
        """Run a Compose command to its end."""
        return _run(self.command(*arguments), check=check, env=self.environment())

    def up(self, *services: str) -> None:
        """Start services, the gateway if none is named, and wait until Docker calls them healthy."""
        wait = ("--wait", "--wait-timeout", str(UP_SECONDS))
        self.run("up", "--detach", "--no-build", *wait, *(services or ["gateway"]))

    def container(self, service: str = "gateway") -> str:
        """The id of a service's container."""
        return self.run("ps", "--all", "--quiet", service).stdout.strip()

    def inspect(self, service: str = "gateway") -> dict[str, Any]:
        """What Docker says of a service's container."""
        shown: dict[str, Any] = json.loads(docker("inspect", self.container(service)).stdout)[0]
        return shown

    def python(self, code: str, service: str = "gateway", *, check: bool = True) -> str:
        """What a piece of Python prints inside a running container."""
        return docker("exec", self.container(service), "python", "-c", code, check=check).stdout

    def kill(self, service: str = "gateway") -> None:
        """End the server's process as `kill -9` does."""
        self.python(KILL_SERVER, service, check=False)

    def cpu_seconds(self) -> float:
        """The processor's time that the gateway's process has taken."""
        return float(self.python(CPU_SECONDS))

    def health(self, service: str = "gateway") -> str:
        """What Docker says of its health: starting, healthy or unhealthy."""
        return str(self.inspect(service)["State"]["Health"]["Status"])

    def admin_key(self, service: str = "gateway") -> str:
        """The admin key of the first start, read as the documentation says."""
        return docker("exec", self.container(service), "cat", "/data/admin-key").stdout.strip()

    def logs(self, service: str = "gateway") -> str:
        """Everything that a service has written to stdout and stderr, over all its starts."""
        shown = docker("logs", self.container(service))
        return shown.stdout + shown.stderr

    def down(self) -> None:
        """Remove containers and volumes, also those of the profiles."""
        self.run(
            "--profile",
            "scale",
            "--profile",
            "monitoring",
            "down",
            "--volumes",
            "--remove-orphans",
            "--timeout",
            "5",
            check=False,
        )


def docker(*arguments: str, check: bool = True) -> Result:
    return _run(["docker", *arguments], check=check, env=dict(os.environ))


def _run(command: list[str], *, check: bool, env: dict[str, str]) -> Result:
    result = subprocess.run(
        command, check=False, capture_output=True, text=True, env=env, cwd=ROOT, timeout=600
    )
    assert not check or result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
    return result


@contextmanager
def network(name: str = NETWORK) -> Iterator[None]:
    """The external network that the user makes before the first start."""
    made = docker("network", "create", name, check=False).returncode == 0
    try:
        yield
    finally:
        if made:
            docker("network", "rm", name)


@contextmanager
def project(
    folder: Path,
    name: str,
    *,
    file: Path = COMPOSE_FILE,
    changes: str = "",
    env_file: Path = Path(os.devnull),
    **variables: str,
) -> Iterator[Project]:
    """An installation with these variables; it is not started yet, and gone at the end.

    Args:
        folder: for what is written.
        name: short; it becomes a part of the project's.
        file: the Compose file.
        changes: another one, as text, that changes the first.
        env_file: the `.env`.
        variables: what a user would set in the shell.
    """
    port = free_port()
    override = folder / "port.yml"
    override.write_text(f'services: {{gateway: {{ports: !override ["127.0.0.1:{port}:8000"]}}}}\n')
    files = [file, override]
    if changes:
        files.append(folder / "changes.yml")
        files[-1].write_text(changes)
    installed = Project(f"gateway-test-{os.getpid()}-{name}", files, port, variables, env_file)
    try:
        yield installed
    finally:
        installed.down()


def stand_in(service: str) -> str:
    """The name of an image like the published one of a service, built of Debian's packages."""
    name = f"gateway-test-{service}"
    docker("build", "--quiet", "--tag", name, "--target", service, str(SERVICES))
    return name


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


def healthy(url: str, path: str = "/health") -> bool:
    try:
        with urllib.request.urlopen(url + path, timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.05)
