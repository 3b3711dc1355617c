"""Whether an address is one of the public internet, and connections to such alone.

A name is looked up once, each of its addresses is judged, and the connection goes to the very address that
was judged: a second look-up could answer otherwise.
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from socket import AddressFamily
from urllib.parse import urlsplit

from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver

_NAT64 = IPv6Network("64:ff9b::/96")


class NotPublic(OSError):
    """A host that is not on the public internet: of this machine, of its network, or of nobody."""


class CheckedResolver(ThreadedResolver):
    """The system's resolver, without addresses that are not public."""

    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AddressFamily.AF_INET
    ) -> list[ResolveResult]:
        """The public addresses of a host.

        Raises:
            NotPublic: it has another as well: such a name cannot be trusted with any.
            OSError: it is unknown.
        """
        found = await super().resolve(host, port, family)
        if not all(is_public(result["host"]) for result in found):
            raise NotPublic("the host has an address that is not public")
        return found


def check_literal(url: str) -> None:
    """Refuse a URL whose host is an address that is not public; a name is judged when it is looked up.

    Raises:
        NotPublic: it is one.
    """
    host = urlsplit(url).hostname or ""
    try:
        ip_address(host)
    except ValueError:
        return
    if not is_public(host):
        raise NotPublic("the address is not public")


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, also the one that an IPv6 address stands for."""
    ip = ip_address(address.partition("%")[0])
    inner = _inner(ip) if isinstance(ip, IPv6Address) else None
    if inner is not None:
        return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def _inner(ip: IPv6Address) -> IPv4Address | None:
    """The IPv4 address inside: mapped (RFC 4291), 6to4 (RFC 3056), Teredo (RFC 4380), NAT64 (RFC 6052)."""
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFF_FFFF)
    teredo = ip.teredo
    return ip.ipv4_mapped or ip.sixtofour or (teredo[1] if teredo else None)
