"""Upstream through an HTTP proxy, and with a certificate authority of one's own: as the environment says."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.servers import binary
from tests.support import gateway as gateways
from tests.support.gateway import UPSTREAM_KEY, Gateway
from tests.support.raw_server import Peer, Play, make_certificates, serving

MESSAGE = {"model": "claude-opus-4-8", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    + b"x" * 100_000
    + b"\r\n--b--\r\n"
)
CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENTS = [
    b'event: ping\ndata: {"type":"ping"}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
]


@dataclass
class Proxy:
    """An HTTP proxy: tunnels for CONNECT (RFC 9110 §9.3.6), absolute targets for the rest (RFC 9112 §3.2.2).

    `asked` are the request lines that it saw. With `refusing` it says 407 to all.
    """

    asked: list[str] = field(default_factory=list)
    refusing: bool = False

    async def __call__(self, peer: Peer) -> None:
        while head := await self._head(peer):
            line, _, rest = head.partition(b"\r\n")
            method, target, _ = line.decode().split()
            self.asked.append(f"{method} {target}")
            if self.refusing:
                await peer.send(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
                return
            if method == "CONNECT":
                host, _, port = target.rpartition(":")
                reader, writer = await asyncio.open_connection(host, int(port))
                await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                origin, _, path = target.removeprefix("http://").partition("/")
                host, _, port = origin.rpartition(":")
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(f"{method} /{path} HTTP/1.1\r\n".encode() + rest)
            try:
                await asyncio.gather(_pipe(reader, peer.writer), _pipe(peer.reader, writer))
            finally:
                writer.close()

    async def _head(self, peer: Peer) -> bytes:
        try:
            return await peer.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return b""


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def upstream(peer: Peer) -> None:
    """Answers like Anthropic, as far as a proxy can spoil it."""
    while request := await peer.request():
        if b'"stream"' in request:
            chunks = [b"%x\r\n%b\r\n" % (len(event), event) for event in EVENTS]
            await peer.send(CHUNKED, *chunks, b"0\r\n\r\n")
        else:
            body = b'{"length":%d}' % len(request.partition(b"\r\n\r\n")[2])
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_u\r\n"
            await peer.send(head + b"content-length: %d\r\n\r\n%b" % (len(body), body))


@contextmanager
def in_thread(play: Play, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve in a loop of its own; yields the URL."""
    loop, started, urls = asyncio.new_event_loop(), threading.Event(), []
    stop = asyncio.Event()

    async def serve() -> None:
        async with serving(play, tls=tls) as server:
            urls.append(server.url)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(10)
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@dataclass
class Setup:
    """Two upstreams, one of them with TLS, and a proxy."""

    proxy: Proxy
    proxy_url: str
    plain: str
    secure: str
    authority: Path


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    certificates = make_certificates(tmp_path_factory.mktemp("tls"), binary("openssl"))
    proxy = Proxy()
    with (
        in_thread(proxy) as proxy_url,
        in_thread(upstream) as plain,
        in_thread(upstream, certificates.server_context()) as secure,
    ):
        yield Setup(proxy, proxy_url, plain, secure, certificates.authority)


VARIABLES = [name + "_proxy" for name in ("http", "https", "no", "all")]


@pytest.fixture(autouse=True)
def no_proxy_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@contextmanager
def gateway_on(folder: Path, setup: Setup, url: str, **environment: str) -> Iterator[Gateway]:
    settings = {"ANTHROPIC_API_KEY": UPSTREAM_KEY, "ANTHROPIC_BASE_URL": url}
    settings |= {"SSL_CERT_FILE": str(setup.authority)} | environment
    with gateways.running(folder, settings) as gateway:
        setup.proxy.asked.clear()
        yield gateway


def calls(gateway: Gateway) -> None:
    """A message, a stream and an upload, twice: on fresh connections and on kept ones."""
    for _ in range(2):
        got = gateway.call("POST", "/v1/messages", MESSAGE)
        assert (got.status, got.header("request-id")) == (200, "req_u")
        got = gateway.call("POST", "/v1/messages", MESSAGE | {"stream": True})
        assert (got.status, got.body) == (200, b"".join(EVENTS))
        form = [("content-type", "multipart/form-data; boundary=b")]
        got = gateway.call("POST", "/v1/files", FORM, headers=form)
        assert (got.status, got.json()) == (200, {"length": len(FORM)})


def test_through_a_tunnel(tmp_path: Path, setup: Setup) -> None:
    """Refused at first, then granted."""
    with gateway_on(tmp_path, setup, setup.secure, HTTPS_PROXY=setup.proxy_url) as gateway:
        setup.proxy.refusing = True
        refused = gateway.call("POST", "/v1/messages", MESSAGE)
        setup.proxy.refusing = False
        calls(gateway)

    assert set(setup.proxy.asked) == {f"CONNECT {setup.secure.removeprefix('https://')}"}
    assert refused.status == 502
    assert b"localhost" not in refused.body
    assert b"127.0.0.1" not in refused.body


def test_with_absolute_targets(tmp_path: Path, setup: Setup) -> None:
    with gateway_on(tmp_path, setup, setup.plain, HTTP_PROXY=setup.proxy_url) as gateway:
        calls(gateway)
        form = [("content-type", "multipart/form-data; boundary=b")]
        cut = gateway.call("POST", "/api/v1/files/upload", FORM[:-5], headers=form)

    assert cut.status == 400
    assert b"it breaks off" in cut.body
    assert setup.proxy.asked[0] == f"POST {setup.plain}/v1/messages"


def test_past_the_proxy(tmp_path: Path, setup: Setup) -> None:
    proxies = {"HTTP_PROXY": setup.proxy_url, "HTTPS_PROXY": setup.proxy_url, "NO_PROXY": "localhost"}
    with gateway_on(tmp_path, setup, setup.secure, **proxies) as gateway:
        calls(gateway)

    assert setup.proxy.asked == []
