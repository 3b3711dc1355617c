"""Our connections beside aiohttp and httpx2, over every framing that an upstream may come up with.

Where both libraries agree, ours must agree. Where it does not, or they do not, the case says what ours makes
of an answer, and why.
"""

import asyncio
import itertools
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import aiohttp
import httpx2
import pytest
import uvloop
from anthropic import APIConnectionError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.pool import Pool
from tests.servers import binary
from tests.support.raw_server import Certificates, Peer, make_certificates, serving

SECONDS = 5.0
HANG = 0.2
"""For answers on which aiohttp 3.14 waits for ever, which counts as an error: a chunk's size is no number."""

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
HELLO = OK + b"Content-Length: 5\r\n\r\nhello"


class Got(NamedTuple):
    """What a client makes of an answer."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


ERROR = "error"
Outcome = Got | str


@dataclass(frozen=True)
class Case:
    """One answer, in the reads in which it comes.

    `ours` is what our pool makes of it, with the reason, where the libraries do not settle that. `seconds` is
    how long a client may take.
    """

    pieces: tuple[bytes, ...]
    method: str = "GET"
    closed: bool = False
    ours: Outcome | None = None
    reason: str = ""
    seconds: float = SECONDS


def case(*pieces: bytes, **options: Any) -> Case:
    return Case(pieces, **options)


def each_byte(data: bytes) -> tuple[bytes, ...]:
    return tuple(data[at : at + 1] for at in range(len(data)))


def got(body: bytes = b"hello", *headers: tuple[bytes, bytes], status: int = 200) -> Got:
    return Got(status, headers or ((b"content-length", b"%d" % len(body)),), body)


LENGTHS: dict[str, Case] = {
    "one read": case(HELLO),
    "head and body apart": case(HELLO[:-5], HELLO[-5:]),
    "byte by byte": case(*each_byte(HELLO)),
    "no body": case(OK + b"Content-Length: 0\r\n\r\n"),
    "large": case(OK + b"Content-Length: 3000000\r\n\r\n", b"x" * 3_000_000),
    "length with zeros before": case(OK + b"Content-Length: 0005\r\n\r\nhello"),
    "length with a sign": case(OK + b"Content-Length: +5\r\n\r\nhello", closed=True),
    "length in hex": case(OK + b"Content-Length: 0x5\r\n\r\nhello", closed=True),
    "negative length": case(OK + b"Content-Length: -5\r\n\r\nhello", closed=True),
    "empty length": case(OK + b"Content-Length: \r\n\r\nhello", closed=True),
    "length beyond 64 bits": case(OK + b"Content-Length: 99999999999999999999\r\n\r\nhello", closed=True),
    "two equal lengths": case(
        OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        closed=True,
        ours=ERROR,
        reason="two lengths are an attack more often than a slip (RFC 9112 §6.3 lets us refuse)",
    ),
    "two lengths": case(OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", closed=True),
    "list of equal lengths": case(
        OK + b"Content-Length: 5, 5\r\n\r\nhello", closed=True, ours=ERROR, reason="as two equal lengths"
    ),
    "length and chunked": case(
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        closed=True,
        ours=ERROR,
        reason="ought to be handled as an error (RFC 9112 §6.3)",
    ),
    "closed inside the body": case(OK + b"Content-Length: 6\r\n\r\nhello", closed=True),
    "closed before the body": case(OK + b"Content-Length: 6\r\n\r\n", closed=True),
}
CHUNKS: dict[str, Case] = {
    "chunked": case(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"),
    "no chunks": case(CHUNKED + b"0\r\n\r\n"),
    "chunks apart": case(CHUNKED, b"2\r\nhe\r\n", b"3\r\nllo\r\n", b"0\r\n\r\n"),
    "last chunk joined": case(CHUNKED, b"5\r\nhello\r\n0\r\n\r\n"),
    "last chunk in halves": case(CHUNKED, b"5\r\nhello\r\n0\r\n", b"\r\n"),
    "chunked byte by byte": case(*each_byte(CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")),
    "chunk extensions": case(CHUNKED + b"5;name=value\r\nhello\r\n0;last\r\n\r\n"),
    "quoted chunk extension": case(CHUNKED + b'5;name="a;b"\r\nhello\r\n0\r\n\r\n'),
    "upper hex": case(CHUNKED + b"A\r\n0123456789\r\n0\r\n\r\n"),
    "zeros before a size": case(CHUNKED + b"0005\r\nhello\r\n000\r\n\r\n"),
    "trailers": case(CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"),
    "trailers apart": case(CHUNKED + b"5\r\nhello\r\n0\r\n", b"X-Sum:", b" 1\r\n", b"\r\n"),
    "many chunks": case(CHUNKED + b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n"),
    "coding in capitals": case(
        OK + b"Transfer-Encoding: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ours=got(b"hello", (b"transfer-encoding", b"CHUNKED")),
        reason="httpx2 writes the value anew",
    ),
    "two codings": case(
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        closed=True,
        ours=got(b"hello", (b"transfer-encoding", b"gzip, chunked")),
        reason="bytes are handed on as they are; httpx2 refuses",
    ),
    "chunked not last": case(
        OK + b"Transfer-Encoding: chunked, gzip\r\n\r\nhello",
        closed=True,
        ours=got(b"hello", (b"transfer-encoding", b"chunked, gzip")),
        reason="ends with its connection (RFC 9112 §6.3)",
    ),
    "coding alone": case(
        OK + b"Transfer-Encoding: gzip\r\n\r\nhello",
        closed=True,
        ours=got(b"hello", (b"transfer-encoding", b"gzip")),
        reason="ends with its connection (RFC 9112 §6.3)",
    ),
    "identity": case(
        OK + b"Transfer-Encoding: identity\r\n\r\nhello",
        closed=True,
        ours=got(b"hello", (b"transfer-encoding", b"identity")),
        reason="ends with its connection (RFC 9112 §6.3)",
    ),
    "size that is no number": case(CHUNKED, b"zz\r\nhello\r\n0\r\n\r\n", closed=True, seconds=HANG),
    "size with a sign": case(CHUNKED, b"+5\r\nhello\r\n0\r\n\r\n", closed=True, seconds=HANG),
    "size with a prefix": case(CHUNKED, b"0x5\r\nhello\r\n0\r\n\r\n", closed=True, seconds=HANG),
    "size beyond 64 bits": case(
        CHUNKED, b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n", closed=True, seconds=HANG
    ),
    "no size": case(CHUNKED, b"\r\nhello\r\n0\r\n\r\n", closed=True, seconds=HANG),
    "blank after a size": case(
        CHUNKED,
        b"5 \r\nhello\r\n0\r\n\r\n",
        closed=True,
        ours=ERROR,
        reason="no grammar allows it, and parsers that differ about sizes get smuggled to",
    ),
    "chunk longer than its size": case(CHUNKED, b"4\r\nhello\r\n0\r\n\r\n", closed=True, seconds=HANG),
    "chunk ends with LF": case(
        CHUNKED, b"5\r\nhello\n0\r\n\r\n", closed=True, ours=ERROR, reason="as a blank after a size"
    ),
    "size ends with LF": case(CHUNKED, b"5\nhello\r\n0\r\n\r\n", closed=True, seconds=HANG),
    "closed inside a chunk": case(CHUNKED + b"5\r\nhel", closed=True),
    "closed between chunks": case(CHUNKED + b"5\r\nhello\r\n", closed=True),
    "closed inside the last chunk": case(CHUNKED + b"5\r\nhello\r\n0\r\n", closed=True),
    "closed inside trailers": case(CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n", closed=True),
}
CONNECTIONS: dict[str, Case] = {
    "closing": case(OK + b"Content-Length: 5\r\nConnection: close\r\n\r\nhello", closed=True),
    "says it closes, and waits": case(OK + b"Content-Length: 5\r\nConnection: close\r\n\r\nhello"),
    "closes without a word": case(HELLO, closed=True),
    "until the end of the connection": case(OK + b"\r\nhel", b"lo", closed=True),
    "until the end, nothing": case(OK + b"\r\n", closed=True),
    "HTTP/1.0": case(b"HTTP/1.0 200 OK\r\n\r\nhello", closed=True),
    "HTTP/1.0 with a length": case(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    "HTTP/1.0 kept alive": case(
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello"
    ),
    "keep-alive said": case(
        OK + b"Content-Length: 5\r\nConnection: Keep-Alive\r\nKeep-Alive: timeout=5\r\n\r\nhello"
    ),
    "upgrade offered": case(OK + b"Content-Length: 5\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\nhello"),
    "bytes after the end": case(
        HELLO + b"GARBAGE", ours=got(), reason="the answer is whole; its connection is not used again"
    ),
    "half an answer after the end": case(HELLO + OK + b"X-Forged: "),
    "an answer after the end": case(HELLO + OK + b"Content-Length: 6\r\n\r\nforged"),
    "empty line after the end": case(HELLO + b"\r\n"),
    "closed at once": case(closed=True),
}
INTERIM: dict[str, Case] = {
    "100 first": case(b"HTTP/1.1 100 Continue\r\n\r\n" + HELLO),
    "100 first, apart": case(b"HTTP/1.1 100 Continue\r\n\r\n", HELLO),
    "103 with a header": case(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", HELLO),
    "102 and 103": case(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + HELLO),
    "100 byte by byte": case(*each_byte(b"HTTP/1.1 100 Continue\r\n\r\n" + HELLO)),
    "100 and the end": case(b"HTTP/1.1 100 Continue\r\n\r\n", closed=True),
    "101": case(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"what?",
        closed=True,
        ours=ERROR,
        reason="nobody asked for another protocol",
    ),
    "101 without a protocol": case(
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + HELLO,
        closed=True,
        ours=ERROR,
        reason="nobody asked for another protocol",
    ),
}
STATUSES: dict[str, Case] = {
    "204": case(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "204 with a length": case(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
    "204 with a body": case(
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
        ours=got(b"", (b"content-length", b"5"), status=204),
        reason="as bytes after the end",
    ),
    "204 chunked": case(b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "304": case(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n"),
    "304 with a length": case(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
    "205": case(b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"),
    "HEAD": case(OK + b"Content-Length: 5\r\n\r\n", method="HEAD"),
    "HEAD chunked": case(OK + b"Transfer-Encoding: chunked\r\n\r\n", method="HEAD"),
    "HEAD with a body": case(
        HELLO, method="HEAD", ours=got(b"", (b"content-length", b"5")), reason="as bytes after the end"
    ),
    "HEAD without a length": case(OK + b"\r\n", method="HEAD"),
    "POST": case(HELLO, method="POST"),
    "DELETE": case(HELLO, method="DELETE"),
    "302": case(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 5\r\n\r\nhello"),
    "401": case(b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 5\r\n\r\nhello"),
    "407": case(b"HTTP/1.1 407 Proxy\r\nContent-Length: 5\r\n\r\nhello"),
    "429": case(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 5\r\n\r\nhello"),
    "529": case(b"HTTP/1.1 529 Overloaded\r\nContent-Length: 5\r\n\r\nhello"),
    "599": case(b"HTTP/1.1 599 What\r\nContent-Length: 5\r\n\r\nhello"),
    "999": case(b"HTTP/1.1 999 What\r\nContent-Length: 5\r\n\r\nhello", closed=True),
    "099": case(
        b"HTTP/1.1 099 What\r\nContent-Length: 5\r\n\r\nhello",
        HELLO,
        closed=True,
        ours=ERROR,
        reason="no status (RFC 9110 §15)",
    ),
    "status of two digits": case(b"HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello", closed=True),
    "status of four digits": case(b"HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello", closed=True),
    "status that is no number": case(b"HTTP/1.1 abc OK\r\nContent-Length: 5\r\n\r\nhello", closed=True),
}
HEADS: dict[str, Case] = {
    "no reason phrase": case(b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello"),
    "no blank for the reason": case(b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello"),
    "reason beyond ASCII": case(b"HTTP/1.1 200 \xc3\xa4\r\nContent-Length: 5\r\n\r\nhello"),
    "letter case": case(OK + b"CONTENT-length: 5\r\nX-CaSe: VaLuE\r\n\r\nhello"),
    "repeated header": case(OK + b"Content-Length: 5\r\nX-A: 1\r\nX-A: 2\r\n\r\nhello"),
    "no blank after the colon": case(OK + b"Content-Length:5\r\nX-A:b\r\n\r\nhello"),
    "blanks around a value": case(OK + b"Content-Length: \t 5 \t\r\nX-A:  b c \r\n\r\nhello"),
    "empty value": case(OK + b"Content-Length: 5\r\nX-A:\r\nX-B: \r\n\r\nhello"),
    "value in UTF-8": case(OK + "Content-Length: 5\r\nX-A: grüße\r\n\r\nhello".encode()),
    "value in Latin-1": case(OK + b"Content-Length: 5\r\nX-A: gr\xfc\xdfe\r\n\r\nhello"),
    "colon in a value": case(OK + b"Content-Length: 5\r\nX-A: b:c\r\n\r\nhello"),
    "folded value": case(
        OK + b"Content-Length: 5\r\nX-A: b\r\n c\r\n\r\nhello",
        closed=True,
        ours=ERROR,
        reason="a gateway must unfold or discard it (RFC 9112 §5.2)",
    ),
    "bare LF": case(
        b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
        closed=True,
        ours=ERROR,
        reason="may be taken for a line's end (RFC 9112 §2.2), and need not",
    ),
    "bare LF once": case(
        OK + b"X-A: b\nContent-Length: 5\r\n\r\nhello", closed=True, ours=ERROR, reason="as bare LF"
    ),
    "bare CR": case(OK + b"X-A: b\rContent-Length: 5\r\n\r\nhello", closed=True),
    "empty lines first": case(
        b"\r\n\r\n" + HELLO,
        closed=True,
        ours=got(),
        reason="harmless: a server that counted badly; httpx2 refuses",
    ),
    "blank before the colon": case(
        OK + b"Content-Length : 5\r\n\r\nhello",
        closed=True,
        ours=ERROR,
        reason="a sign of smuggling (RFC 9112 §5.1)",
    ),
    "blank before a name": case(
        OK + b" Content-Length: 5\r\n\r\nhello",
        closed=True,
        ours=ERROR,
        reason="a folded value of no header (RFC 9112 §2.2)",
    ),
    "no colon": case(OK + b"nonsense\r\n\r\nhello", closed=True),
    "empty name": case(OK + b": b\r\n\r\nhello", closed=True),
    "NUL in a value": case(OK + b"X-A: b\x00c\r\nContent-Length: 5\r\n\r\nhello", closed=True),
    "control character in a value": case(
        OK + b"X-A: b\x01c\r\nContent-Length: 5\r\n\r\nhello",
        closed=True,
        ours=ERROR,
        reason="we could not hand it on: our server refuses to send it",
    ),
    "control character in a name": case(OK + b"X-\x01: b\r\nContent-Length: 5\r\n\r\nhello", closed=True),
    "100 headers": case(OK + b"X-A: b\r\n" * 99 + b"Content-Length: 5\r\n\r\nhello"),
    "30,000 headers": case(OK + b"X-A: b\r\n" * 30_000 + b"Content-Length: 5\r\n\r\nhello", closed=True),
    "8 kB header": case(OK + b"X-A: " + b"b" * 8000 + b"\r\nContent-Length: 5\r\n\r\nhello"),
    "1 MB header": case(
        OK + b"X-A: " + b"b" * 1_000_000 + b"\r\nContent-Length: 5\r\n\r\nhello", closed=True
    ),
    "1 MB reason": case(
        b"HTTP/1.1 200 " + b"b" * 1_000_000 + b"\r\nContent-Length: 5\r\n\r\nhello", closed=True
    ),
    "HTTP/2.0": case(b"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", closed=True),
    "HTTP/1.2": case(
        b"HTTP/1.2 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        closed=True,
        ours=ERROR,
        reason="no version that exists; httpx2 takes any 1.x",
    ),
    "HTTP/0.9": case(b"hello", closed=True),
    "another protocol": case(b"SSH-2.0-OpenSSH_9.2\r\n", closed=True),
    "binary": case(bytes(range(256)), closed=True),
    "TLS alert": case(b"\x15\x03\x01\x00\x02\x02\x16", closed=True),
    "closed inside the status line": case(b"HTTP/1.1 2", closed=True),
    "closed inside a header": case(OK + b"Content-Le", closed=True),
    "closed before the empty line": case(OK + b"Content-Length: 5\r\n", closed=True),
    "lower case protocol": case(b"http/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", closed=True),
}
CASES = LENGTHS | CHUNKS | CONNECTIONS | INTERIM | STATUSES | HEADS


def authority_context(certificates: Certificates) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificates.authority)


class Ours:
    """Our pool; the body is read in one go, by chunks, or handed over as it comes."""

    def __init__(self, url: str, read: str = "whole") -> None:
        self._pool = Pool(url)
        self._read = read

    async def fetch(self, method: str, seconds: float) -> Outcome:
        body = b""
        try:
            answer = await self._pool.send(method, "/x", {}, None, total=seconds, silence=seconds)
            if self._read == "whole":
                body = await answer.read()
            elif self._read == "chunks":
                while chunk := await answer.chunk():
                    body += chunk
            else:
                parts: list[bytes] = []
                await answer.pass_on(parts.append)
                body = b"".join(parts)
        except APIConnectionError:
            return ERROR
        return Got(answer.status, tuple(answer.headers), body)

    async def close(self) -> None:
        await self._pool.close()


def in_chunks(url: str) -> Ours:
    return Ours(url, "chunks")


def handed_over(url: str) -> Ours:
    return Ours(url, "handed over")


class Aiohttp:
    """aiohttp, set up as in `ProxiedPool`, without the proxy."""

    def __init__(self, url: str, authority: ssl.SSLContext | None = None) -> None:
        self._url = url
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=authority or True),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def fetch(self, method: str, seconds: float) -> Outcome:
        try:
            async with (
                asyncio.timeout(seconds),  # its own time-out does not end every wait
                self._session.request(method, self._url + "/x", allow_redirects=False) as response,
            ):
                body = await response.read()
        except (aiohttp.ClientError, OSError, RuntimeError):
            return ERROR
        headers = tuple((name.lower(), value) for name, value in response.raw_headers)
        return Got(response.status, headers, body)

    async def close(self) -> None:
        await self._session.close()


class Httpx:
    """httpx2."""

    def __init__(self, url: str, authority: ssl.SSLContext | None = None) -> None:
        self._client = httpx2.AsyncClient(base_url=url, trust_env=False, verify=authority or False)

    async def fetch(self, method: str, seconds: float) -> Outcome:
        try:
            async with self._client.stream(method, "/x", timeout=seconds) as response:
                body = b"".join([chunk async for chunk in response.aiter_raw()])
        except httpx2.TransportError:
            return ERROR
        headers = tuple((name.lower(), value) for name, value in response.headers.raw)
        return Got(response.status_code, headers, body)

    async def close(self) -> None:
        await self._client.aclose()


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Any], Any]]:
    """Runs a coroutine, in Python's own loop and in the one that the gateway runs in."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        yield runner.run


@dataclass(frozen=True)
class Seen:
    """What a client made of an answer that came again and again, and how many connections that took."""

    outcomes: list[Outcome]
    connections: int


async def fetched(
    given: Case, make: Callable[[str], Any], times: int = 1, tls: ssl.SSLContext | None = None
) -> Seen:
    async def play(peer: Peer) -> None:
        while await peer.request():
            await peer.send(*given.pieces)
            if given.closed:
                return

    async with serving(play, tls=tls) as server:
        client = make(server.url)
        outcomes = []
        try:
            for _ in range(times):
                outcomes.append(await client.fetch(given.method, given.seconds))
                if times > 1:
                    await asyncio.sleep(0.002)  # until a close has come
        finally:
            await client.close()
        return Seen(outcomes, len(server.peers))


@pytest.mark.parametrize("name", CASES)
def test_every_framing(run: Callable[[Any], Any], name: str) -> None:
    given = CASES[name]
    by_aiohttp = run(fetched(given, Aiohttp)).outcomes[0]
    by_httpx = run(fetched(given, Httpx)).outcomes[0]
    agreed = by_aiohttp if by_aiohttp == by_httpx else None
    if given.ours is None:
        assert agreed is not None, f"aiohttp: {by_aiohttp}, httpx2: {by_httpx}; which of them is ours?"
    else:
        assert given.reason
        assert agreed != given.ours, "the libraries settle this one: it needs no reason"

    expected = agreed if given.ours is None else given.ours
    for client in (Ours, in_chunks, handed_over):
        seen = run(fetched(given, client, times=2))
        assert seen.outcomes == [expected, expected]


KEPT = {
    "one read",
    "chunked",
    "trailers",
    "204",
    "304",
    "HTTP/1.0 kept alive",
    "100 first",
    "429",
    "529",
    "401",
    "POST",
}
CUT = {
    "closing",
    "says it closes, and waits",
    "HTTP/1.0",
    "HTTP/1.0 with a length",
    "until the end of the connection",
}
CUT |= {
    "half an answer after the end",
    "an answer after the end",
    "bytes after the end",
    "204 with a body",
    "HEAD",
}
CUT |= {name for name, given in CASES.items() if given.ours == ERROR}


@pytest.mark.parametrize("name", sorted(KEPT | CUT))
def test_which_connections_are_used_again(run: Callable[[Any], Any], name: str) -> None:
    assert run(fetched(CASES[name], Ours, times=3)).connections == (1 if name in KEPT else 3)


SPLIT = [
    "one read",
    "chunk extensions",
    "trailers",
    "103 with a header",
    "until the end of the connection",
    "204",
]


@pytest.mark.parametrize("name", SPLIT)
def test_split_at_every_position(run: Callable[[Any], Any], name: str) -> None:
    given = CASES[name]
    data = b"".join(given.pieces)
    expected = run(fetched(given, Ours)).outcomes

    for at in range(1, len(data)):
        split = Case((data[:at], data[at:]), closed=given.closed)
        assert run(fetched(split, in_chunks)).outcomes == expected, at
        assert run(fetched(split, handed_over)).outcomes == expected, at


@pytest.mark.parametrize("name", ["one read", "trailers", "no chunks", "100 first"])
def test_cut_at_every_position(run: Callable[[Any], Any], name: str) -> None:
    """No part of an answer is taken for the whole."""
    data = b"".join(CASES[name].pieces)

    for at in range(len(data)):
        assert run(fetched(Case((data[:at],), closed=True), Ours)).outcomes == [ERROR], at


# An empty line that comes alone finds the connection idle, which closes it, or in use, which does not.
VALID = sorted(
    name
    for name, given in CASES.items()
    if given.ours is None and not given.closed and name not in ("large", "empty line after the end")
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(VALID), data=st.data())
def test_random_splits_on_one_connection(run: Callable[[Any], Any], name: str, data: st.DataObject) -> None:
    """Two answers in any reads, with an interim one between: nothing of the one gets into the other."""
    given = CASES[name]
    answer = b"".join(given.pieces)[:2000]
    cuts = st.lists(st.integers(0, len(answer)), max_size=12).map(sorted)
    at = [0, *data.draw(cuts), len(answer)]
    pieces = tuple(answer[start:end] for start, end in itertools.pairwise(at) if start < end)
    expected = run(fetched(Case((answer,), given.method, closed=len(answer) == 2000), Ours, times=2))

    seen = run(fetched(Case(pieces, given.method, closed=len(answer) == 2000), in_chunks, times=2))

    assert seen == expected


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=200), at=st.integers(0, 60), kept=st.integers(0, 60))
def test_noise_is_told_or_refused_but_never_a_crash(
    run: Callable[[Any], Any], noise: bytes, at: int, kept: int
) -> None:
    whole = CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"
    answer = whole[:at] + noise + whole[at + kept :]

    (outcome,) = run(fetched(Case((answer,), closed=True, seconds=1.0), Ours)).outcomes

    assert outcome == ERROR or isinstance(outcome, Got)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"), binary("openssl"))


TLS = [
    "one read",
    "byte by byte",
    "large",
    "chunked",
    "trailers",
    "100 first",
    "closing",
    "closed inside the body",
]
TLS += ["closed at once", "bytes after the end", "until the end of the connection", "another protocol", "429"]


@pytest.mark.parametrize("name", TLS)
def test_over_tls(
    run: Callable[[Any], Any], certificates: Certificates, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, tls = CASES[name], certificates.server_context()
    authority = authority_context(certificates)
    by_aiohttp = run(fetched(given, lambda url: Aiohttp(url, authority), tls=tls)).outcomes
    by_httpx = run(fetched(given, lambda url: Httpx(url, authority), tls=tls)).outcomes
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))

    ours = run(fetched(given, Ours, tls=tls)).outcomes

    assert ours == ([given.ours] if given.ours else by_aiohttp)
    assert given.ours or by_aiohttp == by_httpx


def test_a_certificate_of_nobody_is_refused(run: Callable[[Any], Any], certificates: Certificates) -> None:
    given, tls = CASES["one read"], certificates.server_context()

    for client in (Ours, Aiohttp, lambda url: Httpx(url, ssl.create_default_context())):
        assert run(fetched(given, client, tls=tls)).outcomes == [ERROR]


def test_a_certificate_of_another_host_is_refused(
    run: Callable[[Any], Any], certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    given, tls = CASES["one read"], certificates.server_context()

    def at_address(url: str) -> Ours:
        return Ours(url.replace("localhost", "127.0.0.1"))

    assert run(fetched(given, at_address, tls=tls)).outcomes == [ERROR]
