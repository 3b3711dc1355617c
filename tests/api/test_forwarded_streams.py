"""Streams other than messages, each that there is: not held, not changed, ended with their caller."""

import re
import socket
import time
import uuid

import pytest

import openapi
from gateway.catalog import Catalog, Operation
from tests.conftest import Relay
from tests.support.gateway import ADMIN_KEY
from tests.support.recorder import Gate, stream

STREAMED = [
    operation
    for operation in Catalog({"native": openapi.load("native"), "envelope": openapi.load("envelope")})
    if operation.stream is not None and operation.method == "GET"
]
PIECES = {
    "sse": [b": hello\n\n", b"event: novel\nid: 1\nda", b"ta: {}\n\n", b"data: \xe2\x80\xa8\r\n\r\n"],
    "jsonl": [b'{"custom_id":"a"}\n', b'{"custom', b'_id":"b"}\n', b'{"custom_id":"c"}'],
    "binary": [b"PK\x03\x04", bytes(range(256)), b"\x00" * 70_000, b"\r\n"],
}
streamed = pytest.mark.parametrize("operation", STREAMED, ids=lambda operation: operation.id)


def test_each_kind_is_there() -> None:
    assert {operation.stream for operation in STREAMED} == set(PIECES)
    assert {operation.dialect for operation in STREAMED} == {"native", "envelope"}


@streamed
def test_each_piece_passes_at_once(relay: Relay, operation: Operation) -> None:
    pieces = PIECES[operation.stream or ""]
    gates = [Gate() for _ in pieces]
    steps = [step for piece, gate in zip(pieces, gates, strict=True) for step in (piece, gate)]
    relay.upstream.script(stream(*steps, kind=operation.response_types[0]))

    with relay.gateway.open("GET", target(operation), headers=accept(operation)) as got:
        assert got.status == 200
        for piece, gate in zip(pieces, gates, strict=True):
            came = b""
            while len(came) < len(piece):
                came += got.chunk()
            assert came == piece
            gate.open()
        assert got.read() == b""
        headers = dict(got.headers)
    if operation.stream == "sse":
        assert headers["cache-control"] == "no-cache"
        assert headers["x-accel-buffering"] == "no"
    assert "content-encoding" not in headers


@streamed
@pytest.mark.parametrize("begun", [True, False], ids=["in the middle", "before the first byte"])
def test_upstream_is_left_with_the_caller(relay: Relay, operation: Operation, begun: bool) -> None:
    gate = Gate()
    first = [PIECES[operation.stream or ""][0]] if begun else []
    whole = stream(*first, gate, kind=operation.response_types[0])
    relay.upstream.script(whole if begun else [gate])
    request_id = f"req_{uuid.uuid4().hex}"
    headers = [*accept(operation), ("x-request-id", request_id)]
    connection = relay.gateway.begin("GET", target(operation), headers=headers)
    request = relay.upstream.wait_for(1)
    if begun:
        assert connection.getresponse().read1() == first[0]
    else:
        time.sleep(0.2)

    connection.close()

    request.wait_until_left()
    assert relay.gateway.request_line(request_id)["status_code"] == 499  # and not for a timeout
    gate.open()


@streamed
def test_http_1_0_gets_no_chunks(relay: Relay, operation: Operation) -> None:
    """It knows none: what has no length ends with the connection (RFC 9112 §6.1, §6.3)."""
    pieces = PIECES[operation.stream or ""]
    relay.upstream.script(stream(*pieces, kind=operation.response_types[0]))
    asked = [f"{name}: {value}" for name, value in [("x-api-key", ADMIN_KEY), *accept(operation)]]
    request = [f"GET {target(operation)} HTTP/1.0", "connection: keep-alive", *asked, "", ""]

    head, _, body = relay.gateway.raw("\r\n".join(request).encode()).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert body == b"".join(pieces)


def test_http_1_0_may_read_slowly(relay: Relay) -> None:
    pieces = [bytes([number]) * 1_000_000 for number in range(16)]
    relay.upstream.script(stream(*pieces, kind="application/octet-stream"))
    with socket.create_connection(relay.gateway.address, 20) as sock, sock.makefile("rb") as came:
        sock.sendall(b"GET /v1/files/x/content HTTP/1.0\r\nx-api-key: %b\r\n\r\n" % ADMIN_KEY.encode())
        time.sleep(0.5)
        assert came.read().endswith(b"\r\n\r\n" + b"".join(pieces))


def target(operation: Operation) -> str:
    return re.sub(r"\{\w+\}", "x", operation.path)


def accept(operation: Operation) -> list[tuple[str, str]]:
    """Batch results in the envelope are lines only for a caller that asks for them."""
    return [("accept", "application/x-jsonl")] if operation.stream == "jsonl" else []
