"""Where a request comes from, and the address under which it reached the gateway."""

from ipaddress import IPv6Address, ip_address

from gateway.call import Call


def public_origin(call: Call) -> str:
    """Scheme and host of the request, without a slash at the end.

    `X-Forwarded-Proto`, `-Host` and `-Prefix` are believed from TRUSTED_PROXIES only; of several values the
    last one counts, which the nearest proxy wrote.
    """
    scheme, host, prefix = call.scope["scheme"], _last(call, b"host"), ""
    if _from_trusted_proxy(call):
        scheme = _last(call, b"x-forwarded-proto") or scheme
        host = _last(call, b"x-forwarded-host") or host
        prefix = _last(call, b"x-forwarded-prefix").strip("/")
    if not host:
        server = call.scope.get("server") or ("localhost", None)
        host = server[0] if server[1] is None else f"{server[0]}:{server[1]}"
    return f"{scheme}://{host}/{prefix}" if prefix else f"{scheme}://{host}"


def client_address(call: Call) -> str:
    """The caller's address; from one of TRUSTED_PROXIES the one that it names in `X-Forwarded-For`.

    A proxy that passes on what callers write there must not bring any text into the audit trail.
    """
    client = call.scope.get("client")
    address: str = client[0] if client else ""
    if not _from_trusted_proxy(call):
        return address
    try:
        return str(ip_address(_last(call, b"x-forwarded-for").partition("%")[0]))
    except ValueError:
        return address


def _from_trusted_proxy(call: Call) -> bool:
    networks, client = call.services.settings.trusted_proxies, call.scope.get("client")
    if not networks or not client:
        return False
    try:
        address = ip_address(client[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:  # how a listener on `::` sees IPv4
        address = address.ipv4_mapped
    return any(address in network for network in networks)


def _last(call: Call, name: bytes) -> str:
    """The last value of a header, over all its lines (RFC 9110 §5.3)."""
    lines = [value for key, value in call.headers if key == name]
    return lines[-1].decode("latin-1").rpartition(",")[2].strip() if lines else ""
