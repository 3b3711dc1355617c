"""The address that the gateway names as its own."""

from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.call import Call
from gateway.origin import client_address, public_origin
from gateway.services import Services

PROXY = "10.0.0.2"
FORWARDED = {
    "host": "gateway:8000",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "claude.example",
    "x-forwarded-prefix": "/claude",
}
DIRECT = "http://gateway:8000"


Headers = dict[str, str]


def origin(
    headers: Headers,
    client: str | None = PROXY,
    *,
    trusted: str = "10.0.0.0/8",
    before: Headers | None = None,
) -> str:
    return public_origin(call(headers, client, trusted=trusted, before=before))


def call(
    headers: Headers,
    client: str | None = PROXY,
    *,
    trusted: str = "10.0.0.0/8",
    before: Headers | None = None,
) -> Call:
    settings = SimpleNamespace(trusted_proxies=[ip_network(trusted)] if trusted else [])
    scope: dict[str, Any] = {
        "scheme": "http",
        "method": "GET",
        "raw_path": b"/v1/models",
        "headers": [
            (name.encode(), value.encode())
            for part in (before or {}, headers)
            for name, value in part.items()
        ],
        "client": client and (client, 40_000),
        "server": ("192.0.2.1", 8000),
    }
    services: Services = SimpleNamespace(settings=settings)  # type: ignore[assignment]
    return Call(services, scope, receive)


async def receive() -> dict[str, Any]:
    raise AssertionError


async def test_trusted_proxy() -> None:
    assert origin(FORWARDED) == "https://claude.example/claude"


@pytest.mark.parametrize("prefix", ["claude", "/claude/", "claude/"])
async def test_prefix_as_proxies_write_it(prefix: str) -> None:
    assert origin(FORWARDED | {"x-forwarded-prefix": prefix}) == "https://claude.example/claude"


@pytest.mark.parametrize("prefix", ["", "/"])
async def test_no_prefix(prefix: str) -> None:
    assert origin(FORWARDED | {"x-forwarded-prefix": prefix}) == "https://claude.example"


async def test_what_the_nearest_proxy_wrote_counts() -> None:
    joined = {name: f"spoofed, {value}" for name, value in FORWARDED.items() if name != "host"}
    lines = dict.fromkeys(joined, "spoofed")

    assert origin({"host": "gateway:8000", **joined}) == "https://claude.example/claude"
    assert origin(FORWARDED, before=lines) == "https://claude.example/claude"


async def test_proxy_on_a_listener_of_both_families() -> None:
    assert origin(FORWARDED, f"::ffff:{PROXY}") == "https://claude.example/claude"


@pytest.mark.parametrize("name", ["proto", "host", "prefix"])
async def test_each_header_alone(name: str) -> None:
    expected = {
        "proto": "https://gateway:8000",
        "host": "http://claude.example",
        "prefix": "http://gateway:8000/claude",
    }
    headers = {key: FORWARDED[key] for key in ("host", f"x-forwarded-{name}")}

    assert origin(headers) == expected[name]


@pytest.mark.parametrize("client", ["192.0.2.7", "::1", "unix:", None])
async def test_nobody_else_is_believed(client: str | None) -> None:
    assert origin(FORWARDED, client) == DIRECT


async def test_nobody_is_believed_by_default() -> None:
    assert origin(FORWARDED, trusted="") == DIRECT


async def test_no_host_header() -> None:
    """HTTP/1.0 needs none."""
    assert origin({}) == "http://192.0.2.1:8000"


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("spoofed, 198.51.100.7", "198.51.100.7"),
        ("2001:DB8::7", "2001:db8::7"),
        ("", PROXY),
        ("unknown", PROXY),
        ("198.51.100.7, <script>", PROXY),
        ("fe80::1%<script>", "fe80::1"),
        ("x" * 10_000, PROXY),
    ],
)
async def test_who_calls(named: str, expected: str) -> None:
    """What a trusted proxy names, where that is an address; no other text gets into the audit trail."""
    assert client_address(call({"x-forwarded-for": named})) == expected


async def test_who_calls_is_not_for_callers_to_say() -> None:
    assert client_address(call({"x-forwarded-for": "198.51.100.7"}, "192.0.2.7")) == "192.0.2.7"
    assert client_address(call({"x-forwarded-for": "198.51.100.7"}, None)) == ""
