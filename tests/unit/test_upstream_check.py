"""`check-config --upstream` names the one thing that fails, in a sentence that says what to do."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway import cli, upstream_check
from gateway.settings import VARIABLES
from gateway.upstream_check import check_upstream
from tests.support.certificate import self_signed

KEY = "sk-ant-canary-of-the-upstream-key"
MODELS = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"data":[]}'

Serve = Callable[[socket.socket], None]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)


@contextmanager
def server(serve: Serve) -> Iterator[int]:
    """A server that deals with one connection as the test says; yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(20)

    def work() -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(20)
            try:
                serve(connection)
            except OSError:
                return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.close()
        thread.join()


def head(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(4096)
        if not part:
            break
        data += part
    return data


def answering(reply: bytes, seen: list[bytes] | None = None) -> Serve:
    def serve(connection: socket.socket) -> None:
        request = head(connection)
        if seen is not None:
            seen.append(request)
        connection.sendall(reply)

    return serve


def status(code: int) -> bytes:
    return f"HTTP/1.1 {code} Scripted\r\ncontent-length: 2\r\n\r\n{{}}".encode()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("certificate"), "localhost")


def secured(certificate: Path, serve: Serve) -> Serve:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve_tls(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as inside:
            serve(inside)

    return serve_tls


def test_all_is_well() -> None:
    seen: list[bytes] = []
    with server(answering(MODELS, seen)) as port:
        verdict = check_upstream(f"http://127.0.0.1:{port}", KEY)

    assert (verdict.ok, verdict.step, verdict.proxy) == (True, None, None)
    assert verdict.message == f"127.0.0.1:{port} answers and takes the key."
    lines = seen[0].decode().split("\r\n")
    assert lines[0] == "GET /v1/models?limit=1 HTTP/1.1"
    assert f"x-api-key: {KEY}" in lines
    assert any(line.startswith("anthropic-version: 20") for line in lines)


@pytest.mark.parametrize(
    ("reply", "step", "told"),
    [
        (status(401), "key", "ANTHROPIC_API_KEY"),
        (status(403), "key", "refuses it (403)"),
        (status(429), "answer", "asks to wait"),
        (status(529), "answer", "asks to wait"),
        (status(500), "answer", "fault of its own (status 500)"),
        (status(404), "answer", "ANTHROPIC_BASE_URL"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>", "answer", "is not Anthropic's API"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "answer", "did not answer in HTTP"),
        (b"", "answer", "did not answer in HTTP"),
    ],
)
def test_what_upstream_says(reply: bytes, step: str, told: str) -> None:
    with server(answering(reply)) as port:
        verdict = check_upstream(f"http://127.0.0.1:{port}", KEY)

    assert (verdict.ok, verdict.step) == (False, step)
    assert told in verdict.message
    assert "\n" not in verdict.message
    assert KEY not in verdict.message


def test_a_name_without_an_address() -> None:
    verdict = check_upstream("https://anthropic.invalid", KEY)

    assert verdict.step == "dns"
    assert "anthropic.invalid, has no address" in verdict.message


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    verdict = check_upstream(f"http://127.0.0.1:{port}", KEY)

    assert verdict.step == "tcp"
    assert f"127.0.0.1, port {port} (Connection refused)" in verdict.message


def test_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_check, "SECONDS", 0.2)
    over = threading.Event()
    with server(lambda _: over.wait(20) and None) as port:
        verdict = check_upstream(f"http://127.0.0.1:{port}", KEY)
        over.set()

    assert verdict.step == "answer"
    assert "no answer within" in verdict.message


def test_a_certificate_that_nobody_trusts(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(secured(certificate, answering(MODELS))) as port:
        verdict = check_upstream(f"https://localhost:{port}", KEY)
    assert verdict.step == "tls"
    assert "not trusted" in verdict.message
    assert "SSL_CERT_FILE" in verdict.message

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with server(secured(certificate, answering(MODELS))) as port:
        assert check_upstream(f"https://localhost:{port}", KEY).ok


def test_a_port_without_tls() -> None:
    with server(answering(status(400))) as port:
        verdict = check_upstream(f"https://127.0.0.1:{port}", KEY)

    assert verdict.step == "tls"
    assert "speaks HTTPS" in verdict.message


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (status(407), "wants a user and password"),
        (status(403), "refuses the way to Anthropic (status 403)"),
        (b"220 mail.example ESMTP\r\n\r\n", "is no HTTP proxy"),
    ],
)
def test_a_proxy_that_refuses(reply: bytes, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(answering(reply)) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@127.0.0.1:{port}")
        verdict = check_upstream("https://api.example", KEY)

    assert (verdict.step, verdict.proxy) == ("proxy", f"127.0.0.1:{port}")
    assert told in verdict.message
    assert "secret" not in verdict.message


def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")

    verdict = check_upstream("https://api.example", KEY)

    assert verdict.step == "proxy"
    assert "proxy.invalid" in verdict.message
    assert "HTTPS_PROXY" in verdict.message


def test_through_a_proxy(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    inside = secured(certificate, answering(MODELS, seen))

    def proxy(connection: socket.socket) -> None:
        seen.append(head(connection))
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        inside(connection)

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with server(proxy) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:p%40ss@127.0.0.1:{port}")
        verdict = check_upstream("https://localhost:8443", KEY)

    assert verdict.ok, verdict.message
    assert verdict.message == f"localhost:8443 answers through the proxy 127.0.0.1:{port} and takes the key."
    assert seen[0].startswith(b"CONNECT localhost:8443 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dXNlcjpwQHNz\r\n" in seen[0]
    assert seen[1].startswith(b"GET /v1/models?limit=1 HTTP/1.1\r\n")


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    env_file = tmp_path / "env"

    with server(answering(status(401))) as port:
        env_file.write_text(f"ANTHROPIC_API_KEY={KEY}\nANTHROPIC_BASE_URL=http://127.0.0.1:{port}\n")
        assert cli.main(["--env-file", str(env_file), "check-config", "--upstream"]) == 1
    out, err = capsys.readouterr()
    assert KEY not in out + err
    assert "Anthropic does not know the key (401)" in err

    with server(answering(MODELS)) as port:
        env_file.write_text(f"ANTHROPIC_API_KEY={KEY}\nANTHROPIC_BASE_URL=http://127.0.0.1:{port}\n")
        assert cli.main(["--env-file", str(env_file), "check-config", "--upstream", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["upstream"]
    assert (told["ok"], told["step"], told["address"]) == (True, None, f"127.0.0.1:{port}")

    env_file.write_text("UPSTREAM=sandbox\n")
    assert cli.main(["--env-file", str(env_file), "check-config", "--upstream"]) == 0
    assert "sandbox" in capsys.readouterr().out
