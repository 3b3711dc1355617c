"""The address under which the caller reached the gateway."""

from ipaddress import ip_address

from gateway.call import Call


def public_origin(call: Call) -> str:
    """Scheme and host of the request, without a slash at the end.

    `X-Forwarded-Proto`, `-Host` and `-Prefix` are believed from TRUSTED_PROXIES only; of several values the
    last one counts, which the nearest proxy wrote.
    """
    scheme, host, prefix = call.scope["scheme"], _text(call.header(b"host")), ""
    if _from_trusted_proxy(call):
        scheme = _last(call.header(b"x-forwarded-proto")) or scheme
        host = _last(call.header(b"x-forwarded-host")) or host
        prefix = _last(call.header(b"x-forwarded-prefix")).rstrip("/")
    if not host:
        server = call.scope.get("server") or ("localhost", None)
        host = server[0] if server[1] is None else f"{server[0]}:{server[1]}"
    return f"{scheme}://{host}{prefix}"


def _from_trusted_proxy(call: Call) -> bool:
    networks, client = call.services.settings.trusted_proxies, call.scope.get("client")
    if not networks or not client:
        return False
    try:
        address = ip_address(client[0])
    except ValueError:
        return False
    return any(address in network for network in networks)


def _last(value: bytes | None) -> str:
    return _text(value).rpartition(",")[2].strip()


def _text(value: bytes | None) -> str:
    return (value or b"").decode("latin-1")
