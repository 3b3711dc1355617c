"""The health check's exit code follows the server's answer, also over TLS, and costs a container little."""

import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway import cli, healthcheck
from tests.support.certificate import self_signed

ROOT = Path(__file__).parents[2]


@contextmanager
def server(status: int, host: str = "127.0.0.1", certificate: Path | None = None) -> Iterator[int]:
    """Answer every GET with a status, in TLS where there is a certificate; yields the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer((host, 0), Handler) as listening:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            listening.socket = context.wrap_socket(listening.socket, server_side=True)
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield listening.server_port
        finally:
            listening.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "host", "exit_code"),
    [(200, "", 0), (200, "0.0.0.0", 0), (200, "127.0.0.2", 0), (503, "", 1), (404, "", 1)],
)
def test_the_module_as_a_container_runs_it(status: int, host: str, exit_code: int) -> None:
    with server(status, host or "127.0.0.1") as port:
        code = (
            "import atexit, runpy, sys; atexit.register(lambda: print('pydantic' in sys.modules));"
            "runpy.run_module('gateway.healthcheck', run_name='__main__')"
        )
        shown = subprocess.run(
            [sys.executable, "-c", code],
            check=False, cwd=ROOT, env={"HOST": host, "PORT": str(port)}, capture_output=True, text=True,
            timeout=30,
        )  # fmt: skip

    assert (shown.returncode, shown.stdout, shown.stderr) == (exit_code, "False\n", "")


def test_nobody_there() -> None:
    with server(200) as port:
        assert healthcheck.healthy("127.0.0.1", port, tls=False)
        assert not healthcheck.healthy("127.0.0.1", port, tls=True)
    assert not healthcheck.healthy("127.0.0.1", port, tls=False)


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        ("192.0.2.7", "192.0.2.7"),
        ("localhost", "localhost"),
    ],
)
def test_where_a_server_is_reached(host: str, reached: str) -> None:
    assert healthcheck.reachable(host) == reached


def test_the_address_of_a_server_on_all_of_ipv6() -> None:
    assert healthcheck.own_url("::", 8443, tls=True) == "https://[::1]:8443"
    assert healthcheck.own_url("0.0.0.0", 8000, tls=False) == "http://127.0.0.1:8000"


def test_the_command_reads_the_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UPSTREAM", "sandbox")
    for status, exit_code in ((200, 0), (503, 1)):
        with server(status) as port:
            monkeypatch.setenv("PORT", str(port))
            assert cli.main(["--env-file", os.devnull, "healthcheck"]) == exit_code

    assert capsys.readouterr().err == "The gateway is not healthy, or not there.\n"


def test_the_command_asks_where_the_server_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "127.0.0.2")
    with server(200, "127.0.0.2") as port:
        monkeypatch.setenv("PORT", str(port))
        assert cli.main(["--env-file", os.devnull, "healthcheck"]) == 0


def test_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate names the machine, not the loopback."""
    certificate = str(self_signed(tmp_path, "gateway.home"))
    monkeypatch.setenv("TLS_CERT_FILE", certificate)
    monkeypatch.setenv("TLS_KEY_FILE", certificate)
    for status, exit_code in ((200, 0), (503, 1)):
        with server(status, certificate=Path(certificate)) as port:
            monkeypatch.setenv("PORT", str(port))
            assert cli.main(["--env-file", os.devnull, "healthcheck"]) == exit_code
            command = [sys.executable, "-m", "gateway.healthcheck"]
            assert subprocess.run(command, check=False, cwd=ROOT, timeout=30).returncode == exit_code


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_command_for_programs(
    status: int, healthy: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UPSTREAM", "sandbox")
    with server(status) as port:
        monkeypatch.setenv("PORT", str(port))
        assert cli.main(["--env-file", os.devnull, "healthcheck", "--json"]) == (0 if healthy else 1)

    out, err = capsys.readouterr()
    assert (json.loads(out), err) == ({"healthy": healthy}, "")
