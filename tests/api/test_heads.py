"""Heads and trailers of requests are bounded, also for callers without a key."""

import socket
from urllib.parse import urlsplit

import pytest

from tests.support.gateway import ADMIN_KEY, Gateway

BEGINNINGS = {
    "target": b"GET /v1/models?",
    "header": b"GET /v1/models HTTP/1.1\r\nhost: gateway\r\nx-novel: ",
    "trailer": b"POST /v1/models HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-novel: ",
}


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS)
def test_one_without_end_is_cut(gateway: Gateway, beginning: bytes) -> None:
    address = urlsplit(gateway.url)
    with socket.create_connection((address.hostname, address.port), 10) as caller:
        caller.sendall(beginning)
        with pytest.raises(ConnectionError):
            caller.sendall(b"x" * 50_000_000)
    assert gateway.call("GET", "/health/live").status == 200


def test_a_large_one_is_taken(gateway: Gateway) -> None:
    headers = [("x-api-key", ADMIN_KEY), ("x-novel", "x" * 60_000)]

    assert gateway.call("GET", "/v1/models", headers=headers, with_key=False).status == 200
