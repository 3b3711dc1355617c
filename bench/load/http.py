"""Single HTTP exchanges, for checks and for waiting until a server is ready."""

import http.client
from collections.abc import Mapping
from urllib.parse import urlsplit


def exchange(
    method: str,
    url: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 30,
) -> tuple[int, bytes]:
    """One request on a connection of its own; return status and body.

    Raises OSError when the server cannot be reached, http.client.HTTPException when it does not speak HTTP.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.request(method, parts.path, body, dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
