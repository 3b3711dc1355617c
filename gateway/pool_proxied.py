"""What `gateway.pool` does, through an HTTP proxy: aiohttp knows how, and speed does not matter there."""

import asyncio
import contextlib
import io
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
from yarl import URL

from gateway.errors import Headers
from gateway.http1 import ConnectionDied
from gateway.pool import CONNECT_SECONDS, LARGE_BODY, Answer, connection_error

_FAILURES = (TimeoutError, aiohttp.ClientError, OSError, ValueError, RuntimeError)
"""aiohttp 3.14 says RuntimeError of a connection that it closed itself, on an answer that is not HTTP."""


class ProxiedPool:
    """Connections to one origin through a proxy. Make it inside the running loop.

    Args:
        base_url: scheme, host, port and optional path prefix of upstream.
        proxy: the proxy's URL.
    """

    def __init__(self, base_url: str, proxy: str) -> None:
        self._base_url = base_url.rstrip("/")
        self._proxy = proxy
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
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
    ) -> Answer:
        """Send one request and wait for the head of its answer; arguments and errors as of `Pool.send`."""
        began = time.monotonic()
        whole = body is None or isinstance(body, bytes)
        data: Any = io.BytesIO(body) if isinstance(body, bytes) and len(body) > LARGE_BODY else body
        timeout = aiohttp.ClientTimeout(
            total=total if whole else None, connect=min(CONNECT_SECONDS, total or silence), sock_read=silence
        )
        try:
            async with asyncio.timeout(None if whole else silence) as patience:
                response = await self._session.request(
                    method,
                    URL(self._base_url + target, encoded=True),
                    headers=headers,
                    data=data if whole else _moving(data, patience, silence),
                    proxy=self._proxy,
                    allow_redirects=False,
                    timeout=timeout,
                )
        except aiohttp.ClientConnectorError as error:
            raise connection_error(error) from error
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            raise ConnectionDied(time.monotonic() - began) from error
        except _FAILURES as error:
            raise connection_error(error) from error
        return _Answer(response, silence)


async def _moving(
    body: AsyncIterator[bytes], patience: asyncio.Timeout, silence: float
) -> AsyncIterator[bytes]:
    """A body in pieces, each of which begins the wait for the answer anew."""
    loop = asyncio.get_running_loop()
    async for piece in body:
        with contextlib.suppress(RuntimeError):  # the answer has begun already
            patience.reschedule(loop.time() + silence)
        yield piece


class _Answer(Answer):
    """Bounds each wait by itself: aiohttp 3.14 waits for ever when a chunk's size is no number."""

    __slots__ = ("_response", "_silence", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, silence: float) -> None:
        self._response = response
        self._silence = silence
        self.status = response.status
        self.headers: Headers = [(name.lower(), value) for name, value in response.raw_headers]

    async def read(self) -> bytes:
        parts = []
        while part := await self.chunk():
            parts.append(part)
        return b"".join(parts)

    async def chunk(self) -> bytes:
        try:
            async with asyncio.timeout(self._silence):
                return await self._response.content.readany()
        except _FAILURES as error:
            raise connection_error(error) from error

    def close(self) -> None:
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()
