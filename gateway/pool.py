"""HTTP/1.1 connections to upstream: one long-lived aiohttp session, no redirects, no cookies, no decoding.

Answers are handed on as the bytes that came. What the network does wrong becomes one of the SDK's connection
errors, so that the SDK's retry rules apply to it.
"""

import io
import urllib.request
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

import aiohttp
import httpx2
from anthropic import APIConnectionError, APITimeoutError
from yarl import URL

from gateway.errors import Headers

CONNECT_SECONDS = 10.0
LARGE_BODY = 1 << 20
"""Bodies above this size are written piece by piece, so that other requests get their turn."""


class Answer(Protocol):
    """What upstream answers: status and headers at once, the body when it is asked for."""

    status: int
    headers: Headers

    async def read(self) -> bytes:
        """The whole body."""

    async def chunk(self) -> bytes:
        """The next bytes of the body as they come, or nothing at its end."""

    def close(self) -> None:
        """Drop what is left; the connection is closed unless the body was read to its end."""


class Pool:
    """Keep-alive connections to one origin. Make it inside the running loop.

    Args:
        base_url: scheme, host, port and optional path prefix of upstream.
    """

    def __init__(self, base_url: str) -> None:
        url = URL(base_url)
        self._origin = str(url.origin())
        self._prefix = url.raw_path.rstrip("/")
        self._proxy = _proxy_of(url)
        self._urls: dict[str, URL] = {}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60, ttl_dns_cache=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | AsyncIterator[bytes] | None,
        *,
        total: float | None,
        silence: float,
    ) -> "PooledAnswer":
        """Send one request and wait for the head of its answer.

        Args:
            method: HTTP method.
            target: raw path and query, sent as they are.
            headers: all request headers.
            body: bytes, or chunks that are sent as they come.
            total: seconds for the whole exchange, or None.
            silence: seconds that upstream may keep silent.

        Raises:
            anthropic.APITimeoutError: connecting, or the wait for the answer, took too long.
            anthropic.APIConnectionError: the connection failed or broke, or the answer is not HTTP.
        """
        url = self._urls.get(target) or self._url(target)
        data: Any = io.BytesIO(body) if isinstance(body, bytes) and len(body) > LARGE_BODY else body
        try:
            response = await self._session.request(
                method,
                url,
                headers=headers,
                data=data,
                proxy=self._proxy,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=total, sock_connect=CONNECT_SECONDS, sock_read=silence),
            )
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise _connection_error(error, method, str(url)) from error
        return PooledAnswer(response)

    def _url(self, target: str) -> URL:
        url = URL(self._origin + self._prefix + target, encoded=True)
        if "?" not in target and len(self._urls) < 256:
            self._urls[target] = url
        return url


class PooledAnswer:
    """An answer whose body still comes from a pooled connection."""

    __slots__ = ("_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Headers = [(name.lower(), value) for name, value in response.raw_headers]

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            anthropic.APITimeoutError, anthropic.APIConnectionError: it did not come, or not whole.
        """
        try:
            return await self._response.read()
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise _connection_error(error, self._response.method, str(self._response.url)) from error

    async def chunk(self) -> bytes:
        """The next bytes of the body as they come, or nothing at its end.

        Raises:
            anthropic.APITimeoutError, anthropic.APIConnectionError: it broke off.
        """
        try:
            return await self._response.content.readany()
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise _connection_error(error, self._response.method, str(self._response.url)) from error

    def close(self) -> None:
        """Drop what is left of the body."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


def _proxy_of(url: URL) -> str | None:
    """The proxy that the usual environment variables name for this origin."""
    if urllib.request.proxy_bypass(url.host or ""):
        return None
    return urllib.request.getproxies().get(url.scheme)


def _connection_error(error: Exception, method: str, url: str) -> APIConnectionError:
    request = httpx2.Request(method, url)
    if isinstance(error, TimeoutError):
        return APITimeoutError(request=request)
    return APIConnectionError(message=type(error).__name__, request=request)
