"""Ask the server on this machine how it is: the health check of a container.

A container runs it all the time: `python -m gateway.healthcheck` imports the standard library alone and takes
the three settings that matter from the environment.
"""

import http.client
import os
import ssl
import sys

TIMEOUT_SECONDS = 4.0


ALL_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, not bound
"""Where a server is reached that listens on all addresses: on `::` it takes no IPv4."""


def reachable(host: str) -> str:
    """Return the address at which this machine reaches a server whose HOST is `host`."""
    return ALL_ADDRESSES.get(host, host)


def own_url(host: str, port: int, *, tls: bool) -> str:
    """Return the address of a server on this machine; arguments as of `healthy`."""
    host = reachable(host)
    host = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{host}:{port}"


def healthy(host: str, port: int, *, tls: bool, timeout: float = TIMEOUT_SECONDS) -> bool:
    """Tell whether `/health` answers 200.

    Args:
        host: the server's HOST.
        port: its PORT.
        tls: whether it speaks HTTPS. Its certificate is not verified: it names the machine, not the loopback.
        timeout: seconds for each step of the connection.
    """
    host = reachable(host)
    connection = (
        http.client.HTTPSConnection(host, port, timeout=timeout, context=unverified())
        if tls
        else http.client.HTTPConnection(host, port, timeout=timeout)
    )
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def unverified() -> ssl.SSLContext:
    """TLS with a server on this machine, whose certificate names another address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


if __name__ == "__main__":
    host, port = os.environ.get("HOST") or "127.0.0.1", int(os.environ.get("PORT") or 8000)
    sys.exit(0 if healthy(host, port, tls=bool(os.environ.get("TLS_CERT_FILE"))) else 1)
