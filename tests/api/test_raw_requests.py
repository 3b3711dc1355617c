"""Requests that no honest client sends, byte by byte: refused, or understood as a server in front does."""

import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import Relay
from tests.support.client import Answer
from tests.support.gateway import ADMIN_KEY
from tests.support.recorder import answer

BODY = b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}]}'
KEY = b"x-api-key: " + ADMIN_KEY.encode()
JSON = b"content-type: application/json"
CHUNKED = b"transfer-encoding: chunked"
INVALID = b"HTTP/1.1 400 Bad Request"


def request(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    """A request, the last of its connection."""
    return (
        b"\r\n".join([line + b" HTTP/1.1", b"host: gateway", b"connection: close", *headers, b"", b""]) + body
    )


def chunks(*trailers: bytes) -> bytes:
    """The body in one chunk, with trailers after it."""
    return b"\r\n".join([b"%x" % len(BODY), BODY, b"0", *trailers, b"", b""])


def ask(relay: Relay, data: bytes) -> Answer:
    """Send bytes; the one answer to them."""
    head, _, body = relay.gateway.raw(data).partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
    return Answer(int(status.split()[1]), headers, body)


# Trailers: a proxy in front looks at headers alone.


def test_a_key_among_the_trailers_opens_nothing(relay: Relay) -> None:
    got = ask(relay, request(b"POST /v1/messages", JSON, CHUNKED, body=chunks(KEY)))

    assert got.status == 401
    assert relay.upstream.requests == []


def test_trailers_change_nothing(relay: Relay) -> None:
    trailers = chunks(
        b"anthropic-beta: from-a-trailer", b"x-request-id: from-a-trailer", b"x-stainless-os: x"
    )
    got = ask(relay, request(b"POST /v1/messages", KEY, JSON, CHUNKED, body=trailers))

    assert got.status == 200
    assert relay.upstream.only.body == BODY
    assert b"from-a-trailer" not in relay.upstream.only.head
    assert str(got.header("x-request-id")).startswith("req_")


# A body that waits to be asked for: who is refused instead may keep it (RFC 9110 §10.1.1).


@pytest.mark.parametrize(
    ("key", "length", "status"),
    [(b"x-api-key: wrong", 5, 401), (KEY, 40_000_000, 413), (KEY, len(BODY), 200)],
)
def test_a_refusal_before_the_body_ends_the_connection(
    relay: Relay, key: bytes, length: int, status: int
) -> None:
    head = b"POST /v1/messages HTTP/1.1\r\nhost: gateway\r\n%b\r\n%b\r\n" % (key, JSON)
    head += b"content-length: %d\r\nexpect: 100-continue\r\n\r\n" % length
    address = urlsplit(relay.gateway.url)
    with socket.create_connection((address.hostname, address.port), 10) as caller:
        caller.sendall(head)
        got = caller.recv(65_536)
        if status == 200:
            assert got == b"HTTP/1.1 100 Continue\r\n\r\n"
            caller.sendall(BODY)
            got = caller.recv(65_536)
            assert b"connection: close" not in got
        else:
            assert b"connection: close" in got
            while caller.recv(65_536):
                continue
        assert got.startswith(b"HTTP/1.1 %d " % status)


# Upgrades: Java's client asks for HTTP/2 on every plain connection, with whatever it sends.


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.0"])
@pytest.mark.parametrize("name", [b"Upgrade", b"upgrade"])
@pytest.mark.parametrize("framing", [b"content-length: %d" % len(BODY), CHUNKED])
def test_an_upgrade_is_ignored(relay: Relay, protocol: bytes, name: bytes, framing: bytes) -> None:
    headers = [KEY, JSON, b"Connection: Upgrade, HTTP2-Settings", b"%b: %b" % (name, protocol), framing]
    body = chunks() if framing == CHUNKED else BODY
    got = ask(relay, request(b"POST /v1/messages", *headers, body=body))

    assert got.status == 200
    assert relay.upstream.only.body == BODY


def test_the_word_in_a_body_is_left_alone(relay: Relay) -> None:
    body = BODY.replace(b"Hi", b"\\r\\nUpgrade: h2c\\r\\n")
    raw = body + b"\r\nupgrade: x"  # white space after the object would be valid JSON, this is none
    for sent, status in ((body, 200), (raw, 400)):
        length = b"content-length: %d" % len(sent)
        assert ask(relay, request(b"POST /v1/messages", KEY, JSON, length, body=sent)).status == status
    assert relay.upstream.only.body == body


# Framing: whoever reads a length differently from the server in front may be fed a second request.


SMUGGLED = b"GET /v1/models HTTP/1.1\r\nhost: g\r\n" + KEY + b"\r\n\r\n"
FRAMINGS = {
    "length and chunks": ([b"content-length: 5", CHUNKED], b"0\r\n\r\n"),
    "chunks and length": ([CHUNKED, b"content-length: 5"], b"0\r\n\r\n"),
    "two lengths": ([b"content-length: 2", b"content-length: 3"], b"{}"),
    "list of lengths": ([b"content-length: 2, 2"], b"{}"),
    "signed length": ([b"content-length: +2"], b"{}"),
    "negative length": ([b"content-length: -1"], b"{}"),
    "length beyond numbers": ([b"content-length: 99999999999999999999999"], b"{}"),
    "unknown coding": ([b"transfer-encoding: xchunked"], b"0\r\n\r\n"),
    "coding behind a tab": ([b"transfer-encoding: \x0bchunked"], b"0\r\n\r\n"),
    "coding twice": ([CHUNKED, CHUNKED], b"0\r\n\r\n"),
    "blank before the colon": ([b"content-length : 2"], b"{}"),
    "folded line": ([b"content-length:\r\n 2"], b"{}"),
    "hexadecimal prefix": ([CHUNKED], b"0x2\r\n{}\r\n0\r\n\r\n"),
    "chunk beyond numbers": ([CHUNKED], b"ffffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
    "chunk with bare line feeds": ([CHUNKED], b"2\n{}\n0\n\n"),
    "length among the trailers": ([CHUNKED], b"2\r\n{}\r\n0\r\ncontent-length: 3\r\n\r\n"),
}


@pytest.mark.parametrize("name", FRAMINGS)
def test_doubtful_framing_is_refused(relay: Relay, name: str) -> None:
    """And the connection is closed: what follows on it is nobody's request."""
    headers, body = FRAMINGS[name]
    got = relay.gateway.raw(request(b"POST /v1/messages", KEY, JSON, *headers, body=body) + SMUGGLED)

    assert got.startswith(INVALID)
    assert got.count(b"HTTP/1.1 ") == 1
    assert relay.upstream.requests == []


# Injection: a line end in what is told again, in headers, in logs.


@pytest.mark.parametrize("line_end", [b"\r\n ", b"\n", b"\r", b"\x00"])
@pytest.mark.parametrize("name", [b"x-request-id", b"anthropic-beta", b"accept", b"x-stainless-os"])
def test_line_ends_in_headers(relay: Relay, name: bytes, line_end: bytes) -> None:
    got = relay.gateway.raw(request(b"GET /v1/models", KEY, name + b": abcdefgh" + line_end + b"evil: 1"))

    assert got.startswith(INVALID)
    assert b"evil" not in got
    assert relay.upstream.requests == []


@pytest.mark.parametrize(
    "given",
    [
        "short",
        "a" * 129,
        "with blank",
        "tab\tinside",
        "semi;colon",
        'quo"te',
        "<script>",
        "\xe9" * 8,
        "%0d%0aX:1",
    ],
)
def test_a_request_id_of_the_callers_is_plain_or_replaced(relay: Relay, given: str) -> None:
    got = relay.gateway.call("GET", "/v1/models", headers=[("x-request-id", given)])

    assert str(got.header("x-request-id")).startswith("req_")
    assert relay.gateway.request_line(got.header("x-request-id"))["request_id"] == got.header("x-request-id")


def test_a_plain_request_id_is_kept(relay: Relay) -> None:
    got = relay.gateway.call("GET", "/v1/models", headers=[("x-request-id", "build-7.4_2026")])

    assert got.header("x-request-id") == "build-7.4_2026"


def test_line_ends_in_names_that_are_logged(relay: Relay) -> None:
    """One line a request, whatever the model is called; a model that nobody knows is not even named."""
    evil = 'm\\r\\n{\\"level\\":\\"forged\\"}\\u001b[31m\\u2028\\u0085'
    body = BODY.replace(b'"m"', b'"%b"' % evil.encode())
    got = relay.gateway.call("POST", "/v1/messages", body, [("content-type", "application/json")])

    assert relay.upstream.only.body == body
    assert relay.gateway.request_line(got.header("x-request-id"))["model"] == "other"
    assert "forged" not in relay.gateway.output.read_text()


@pytest.mark.parametrize(
    "name", ["a\nb", "a\r\nb", "a\x1b[31mb", "a\u2028b", "a\x85b", "a\x00b", " a", "a\tb"]
)
def test_names_of_keys_are_printable(relay: Relay, name: str) -> None:
    assert relay.gateway.call("POST", "/api/v1/keys", {"name": name}).status == 400


# Targets.


@pytest.mark.parametrize(
    ("version", "hosts", "status"),
    [
        (b"1.1", [], 400),
        (b"1.1", [b"host: gateway", b"host: gateway"], 400),
        (b"1.0", [b"host: a", b"Host: b"], 400),
        (b"1.0", [], 200),
        (b"1.1", [b"Host:"], 200),
    ],
    ids=["none", "twice", "two", "none in 1.0", "empty"],
)
@pytest.mark.parametrize("path", [b"/v1/models", b"/api/v1/models"])
def test_one_host(relay: Relay, path: bytes, version: bytes, hosts: list[bytes], status: int) -> None:
    """A proxy in front may go by another than we (RFC 9112 §3.2)."""
    relay.upstream.reply = lambda _: answer(
        body=b'{"data":[],"has_more":false,"first_id":null,"last_id":null}'
    )
    head = [b"GET %b HTTP/%b" % (path, version), KEY, b"connection: close", *hosts, b"", b""]

    got = ask(relay, b"\r\n".join(head))

    assert got.status == status
    if status == 400:
        assert "Host" in str(got.json()["error"])


@pytest.mark.parametrize("prefix", [b"http://evil.example", b"https://user:pass@evil.example:99"])
def test_a_target_with_a_host_goes_to_the_fixed_upstream(relay: Relay, prefix: bytes) -> None:
    """Its path is what counts (RFC 9112 §3.2.2); the gateway is nobody's proxy to elsewhere."""
    forwarded = [
        b"x-forwarded-host: evil.example",
        b"forwarded: host=evil.example",
        b"x-original-url: /v1/files",
    ]
    got = ask(relay, request(b"GET " + prefix + b"/v1/models", KEY, *forwarded))

    assert got.status == 200
    assert relay.upstream.only.target == "/v1/models"
    assert relay.upstream.only.header("host") == relay.upstream.url.removeprefix("http://")
    assert b"evil" not in relay.upstream.only.head


@pytest.mark.parametrize(
    "target",
    [
        b"v1/models",
        b"?x=1",
        b"*",
        b"evil.example:443",
        b"file:///etc/passwd",
        b"/v1/models/a b",
        b"/v1/models/a\tb",
        b"/v1/models/\x1b[31m",
        b"/v1/models/\xc2\x85",
        b"/v1/models/..;/organizations/users",
        b"/v1/models/..;a=b",
        b"/v1/models/%2e%2e%3b/organizations",
        b"/v1/models/x%2f..%2forganizations",
        b"/docs/..%2fmain.py",
    ],
)
def test_targets_that_may_mean_something_else(relay: Relay, target: bytes) -> None:
    got = relay.gateway.raw(request(b"GET " + target, KEY))

    assert got.startswith(INVALID)
    assert relay.upstream.requests == []


@pytest.mark.parametrize("path", ["/v1/models", "/api/v1/models"])
@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "PROPFIND", "get", "PRI", "FROB"])
def test_other_methods(relay: Relay, method: str, path: str) -> None:
    got = ask(relay, request(f"{method} {path}".encode(), KEY))

    assert got.status in (400, 405)
    native = path.startswith("/v1")
    assert got.json().get("type" if native else "success") == ("error" if native else False)
    assert relay.upstream.requests == []


def test_no_header_takes_the_methods_place(relay: Relay) -> None:
    for name in ("x-http-method-override", "x-http-method", "x-method-override"):
        relay.gateway.call("GET", "/v1/files/x", headers=[(name, "DELETE")])
    assert {received.method for received in relay.upstream.requests} == {"GET"}


@pytest.mark.parametrize("key", [b"  %b  ", b"\t%b\t"])
def test_blanks_around_a_key(relay: Relay, key: bytes) -> None:
    """They are no part of the value (RFC 9110 §5.5)."""
    sent = b"x-api-key:" + key % ADMIN_KEY.encode()
    assert ask(relay, request(b"GET /v1/models", sent)).status == 200


# What every answer says.


def test_headers_that_protect(relay: Relay) -> None:
    """No answer is sniffed for another type, and none behind a key is kept by a cache on the way."""
    relay.upstream.script(*[answer(headers=[("x-content-type-options", "novel"), ("set-cookie", "a=b")])] * 2)
    for target in ("/v1/models", "/api/v1/models", "/v1/files/f/content", "/metrics", "/v1/nothing/at/all"):
        got = relay.gateway.call("GET", target)
        assert got.header("x-content-type-options") == "nosniff", target
        assert got.header("cache-control") == "no-store", target
        assert got.header("set-cookie") is None
        assert got.header("server") is None
    refused = relay.gateway.call("GET", "/v1/models", with_key=False)
    assert (refused.header("x-content-type-options"), refused.header("cache-control")) == (
        "nosniff",
        "no-store",
    )
    assert relay.gateway.call("GET", "/health").header("x-content-type-options") == "nosniff"


def test_events_say_for_themselves_that_they_are_not_kept(relay: Relay) -> None:
    relay.upstream.script(answer(body=b"event: ping\ndata: {}\n\n", kind="text/event-stream"))
    body = BODY[:-1] + b',"stream":true}'
    got = relay.gateway.call("POST", "/v1/messages", body, [("content-type", "application/json")])

    assert got.header("cache-control") == "no-cache"
    assert got.header("x-content-type-options") == "nosniff"

    whole = relay.gateway.call("POST", "/v1/messages", BODY, [("content-type", "application/json")])
    assert whole.header("cache-control") == "no-store"


def test_no_secret_where_other_programs_look(relay: Relay) -> None:
    """Nor in the command line, which every user of the machine can read."""
    shown = Path(f"/proc/{relay.gateway.process.pid}/cmdline").read_bytes()
    assert b"--env-file" in shown
    assert b"sk-" not in shown
