"""What docs/deployment.md gives for each reverse proxy works: taken from the page, started, and used."""

import http.client
import json
import os
import re
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.servers import binary, held_port, wait_for
from tests.support import gateway as gateways
from tests.support.certificate import self_signed
from tests.support.gateway import ADMIN_KEY, UPSTREAM_KEY, Gateway
from tests.support.recorder import Gate, Recorder, Step, answer, stream

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"
HOST = "gateway.example.com"
ADDRESS = "127.0.0.1:8090"
UPLOAD = 8_000_000
"""Bytes: more than any of these proxies takes, or keeps in memory, unless told otherwise."""

FIRST = (
    b'event: message_start\ndata: {"type": "message_start", "message": {"usage": {"input_tokens": 1}}}\n\n'
)
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
LAST = b'event: message_stop\ndata: {"type": "message_stop"}\n\n'
BODY = {"model": "claude-haiku-4-5", "max_tokens": 8, "stream": True, "messages": []}


@dataclass(frozen=True)
class Setup:
    """What a proxy's snippet is to be filled with."""

    folder: Path
    port: int
    certificate: Path
    gateway: str

    def fill(self, snippet: str, *replacements: tuple[str, str]) -> str:
        """The snippet with its addresses and paths replaced; each must be there."""
        for old, new in ((ADDRESS, self.gateway), *replacements):
            assert old in snippet, old
            snippet = snippet.replace(old, new)
        return snippet


def snippet(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return str(found)


def nginx(setup: Setup) -> list[str]:
    temporary = "".join(
        f"{name}_temp_path {setup.folder / name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    server = setup.fill(
        snippet("nginx"),
        ("listen 443 ssl", f"listen 127.0.0.1:{setup.port} ssl"),
        ("/etc/ssl/gateway.pem", str(setup.certificate)),
        ("/etc/ssl/gateway.key", str(setup.certificate)),
    )
    file = setup.folder / "nginx.conf"
    file.write_text(
        f"daemon off; master_process off; pid {setup.folder / 'pid'}; error_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{server}}}\n"
    )
    return [binary("nginx"), "-e", "stderr", "-p", str(setup.folder), "-c", str(file)]


def haproxy(setup: Setup) -> list[str]:
    file = setup.folder / "haproxy.cfg"
    file.write_text(
        setup.fill(
            snippet("haproxy"),
            ("bind :443", f"bind 127.0.0.1:{setup.port}"),
            ("/etc/ssl/gateway.pem", str(setup.certificate)),
        )
    )
    return [binary("haproxy"), "-db", "-f", str(file)]


def caddy(setup: Setup) -> list[str]:
    file = setup.folder / "Caddyfile"
    site = setup.fill(
        snippet("caddyfile"),
        (
            f"{HOST} {{\n",
            f"https://{HOST}:{setup.port} {{\n\tbind 127.0.0.1\n"
            f"\ttls {setup.certificate} {setup.certificate}\n",
        ),
    )
    file.write_text(f"{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{site}")
    return [binary("caddy"), "run", "--config", str(file), "--adapter", "caddyfile"]


PROXIES: dict[str, Callable[[Setup], list[str]]] = {"nginx": nginx, "haproxy": haproxy, "caddy": caddy}


@dataclass(frozen=True)
class Proxied:
    gateway: Gateway
    upstream: Recorder
    port: int
    certificate: Path

    @contextmanager
    def request(
        self, method: str, target: str, body: bytes | None = None, kind: str = "application/json"
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request through the proxy over TLS, whose certificate is checked."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        connection = http.client.HTTPConnection(HOST, timeout=20)
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection.sock = context.wrap_socket(plain, server_hostname=HOST)
        headers = {"host": HOST, "x-api-key": ADMIN_KEY, "content-type": kind}
        try:
            connection.request(method, target, body, headers)
            with connection.getresponse() as response:
                yield response
        finally:
            connection.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("certificate"), HOST)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Recorder) -> Iterator[Gateway]:
    settings = {
        "ANTHROPIC_API_KEY": UPSTREAM_KEY,
        "ANTHROPIC_BASE_URL": upstream.url,
        "TRUSTED_PROXIES": "127.0.0.1/32",
    }
    with gateways.running(tmp_path_factory.mktemp("proxied"), settings) as running:
        yield running


@pytest.fixture(scope="module", params=PROXIES)
def proxied(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    gateway: Gateway,
    upstream: Recorder,
    certificate: Path,
) -> Iterator[Proxied]:
    folder = tmp_path_factory.mktemp(request.param)
    folder.chmod(0o755)
    setup = Setup(folder, held_port(), certificate, gateway.url.removeprefix("http://"))
    arguments = PROXIES[request.param](setup)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(arguments, stdout=log, stderr=log, cwd=folder, env=environment)
    try:
        wait_for(setup.port, process)
        yield Proxied(gateway, upstream, setup.port, certificate)
    finally:
        process.kill()
        process.wait(20)


@pytest.fixture(autouse=True)
def _reset(upstream: Recorder) -> None:
    upstream.reset()


def test_each_event_of_a_stream_comes_at_once(proxied: Proxied) -> None:
    gate = Gate()
    proxied.upstream.script(stream(FIRST, gate, LAST))

    with proxied.request("POST", "/v1/messages", json.dumps(BODY).encode()) as response:
        data = b""
        while FIRST not in data:
            data += response.read1(65_536)  # the last one is sent when this one is here
        assert LAST not in data
        gate.open()
        data += response.read()

    assert data == FIRST + LAST


def test_a_caller_that_hangs_up_ends_the_call(proxied: Proxied) -> None:
    """HAProxy may notice it by what comes next alone, so something comes, as Anthropic's pings do."""
    pings: list[Step] = [step for _ in range(60) for step in (0.5, PING)]
    proxied.upstream.script(stream(FIRST, *pings, LAST))

    with proxied.request("POST", "/v1/messages", json.dumps(BODY).encode()) as response:
        assert response.read1(65_536)

    proxied.upstream.wait_for(1).wait_until_left(20)


def test_links_begin_with_the_address_that_callers_use(proxied: Proxied) -> None:
    batch: dict[str, Any] = {
        "id": "msgbatch_1",
        "results_url": "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results",
    }
    proxied.upstream.script(answer(body=json.dumps(batch).encode()))

    with proxied.request("GET", "/v1/messages/batches/msgbatch_1") as response:
        shown = json.loads(response.read())

    assert shown["results_url"] == f"https://{HOST}/v1/messages/batches/msgbatch_1/results"


def test_a_large_body_passes(proxied: Proxied) -> None:
    proxied.upstream.script(answer(body=b'{"id": "file_1", "type": "file"}'))
    content = b"x" * UPLOAD
    body = (
        b'--b\r\ncontent-disposition: form-data; name="file"; filename="large"\r\n'
        b"content-type: application/octet-stream\r\n\r\n" + content + b"\r\n--b--\r\n"
    )

    with proxied.request("POST", "/v1/files", body, "multipart/form-data; boundary=b") as response:
        assert response.status == 200

    assert content in proxied.upstream.only.body
