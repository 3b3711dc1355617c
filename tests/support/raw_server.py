"""A TCP server in the test's own loop, which answers with the bytes, and in the reads, that a test says.

`tests.support.recorder` answers from a thread of its own and keeps requests to be looked at; this one is
for tests of many connections and of single reads.
"""

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

BACKLOG = 1000
"""Connections that may wait to be accepted: one that finds no room comes a second later, or three."""

Play = Callable[["Peer"], Awaitable[None]]


def abort(writer: asyncio.StreamWriter) -> None:
    """Reset a connection, which may be over already."""
    with contextlib.suppress(AttributeError):  # of Python 3.11.2, where TLS has ended
        writer.transport.abort()


@dataclass(eq=False)
class Peer:
    """One connection, as the server sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> bytes:
        """The next request: head and, where it has a length, body. Nothing at the end of the connection."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                return head + await self.reader.readexactly(int(line.partition(b":")[2]))
        return head

    async def send(self, *pieces: bytes) -> None:
        """Write each piece in a way that lets the client read it by itself."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            for _ in range(3):
                await asyncio.sleep(0)

    async def left(self) -> float:
        """Wait until the client is gone; returns when that was, on the loop's clock."""
        while True:
            try:
                if not await self.reader.read(65_536):
                    break
            except ConnectionError:
                break
        return asyncio.get_running_loop().time()

    def cut(self) -> None:
        """Reset the connection."""
        abort(self.writer)


@dataclass
class RawServer:
    """What a test sees of the server."""

    url: str
    peers: list[Peer] = field(default_factory=list)


@asynccontextmanager
async def serving(
    play: Play, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[RawServer]:
    """Let `play` serve each connection; what it leaves open is closed when it returns."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        peer = Peer(reader, writer)
        server.peers.append(peer)
        try:
            await play(peer)
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            return  # the client left, or the test is over
        finally:
            tasks.discard(task)
            writer.close()

    listener = await asyncio.start_server(serve, host, 0, ssl=tls, backlog=BACKLOG)
    port = listener.sockets[0].getsockname()[1]
    name = f"[{host}]" if ":" in host else "localhost" if tls else host
    server = RawServer(f"{'https' if tls else 'http'}://{name}:{port}")
    try:
        yield server
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for peer in server.peers:
            peer.cut()
        for _ in range(3):
            await asyncio.sleep(0)  # the transports close one turn later
        await listener.wait_closed()


def playing(*answers: Sequence[bytes], then_close: bool = False) -> Play:
    """Answer the requests of a connection with these, in turn and over again."""

    async def play(peer: Peer) -> None:
        while True:
            for pieces in answers:
                if not await peer.request():
                    return
                await peer.send(*pieces)
                if then_close:
                    return

    return play


@dataclass(frozen=True)
class Certificates:
    """An authority, and the server's certificate from it, for `localhost`."""

    authority: Path
    server: Path
    key: Path
    openssl: str

    def server_context(self) -> ssl.SSLContext:
        return _context(self.server, self.key)

    def faulty_context(
        self, host: str = "localhost", days: int = 2, *, vouched: bool = True
    ) -> ssl.SSLContext:
        """That of another certificate: for another host, expired (days below 0), or without the authority."""
        name = f"{host}-{days}-{vouched}"
        certificate, key = self.authority.with_name(f"{name}.pem"), self.authority.with_name(f"{name}.key")
        self.issue(certificate, key, host, days, vouched=vouched)
        return _context(certificate, key)

    def issue(self, certificate: Path, key: Path, host: str, days: int, *, vouched: bool) -> None:
        """Make a certificate for a host."""
        request = certificate.with_suffix(".csr")
        names = ["-addext", f"subjectAltName=DNS:{host}", "-addext", "basicConstraints=critical,CA:FALSE"]
        _request(self.openssl, f"/CN={host}", ["-out", request, "-keyout", key, *names])
        authority = ["-CA", self.authority, "-CAkey", self.authority.with_suffix(".key")]
        signed_by = authority if vouched else ["-signkey", key]
        asked = ["x509", "-req", "-in", request, "-copy_extensions", "copyall", "-days", str(days)]
        _run(self.openssl, [*asked, *signed_by, "-out", certificate])


def make_certificates(folder: Path, openssl: str) -> Certificates:
    """Make them with the openssl program."""
    made = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key", openssl)
    key = folder / "ca.key"
    _request(openssl, "/CN=Test authority", ["-x509", "-days", "2", "-out", made.authority, "-keyout", key])
    made.issue(made.server, made.key, "localhost", 2, vouched=True)
    return made


def _request(openssl: str, subject: str, arguments: Sequence[str | Path]) -> None:
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    _run(openssl, ["req", "-new", *curve, "-subj", subject, *arguments])


def _run(openssl: str, arguments: Sequence[str | Path]) -> None:
    subprocess.run([openssl, *arguments], check=True, capture_output=True)


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
