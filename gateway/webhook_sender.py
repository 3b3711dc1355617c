"""One attempt to deliver a webhook message: signed, to public addresses alone, no redirect followed."""

import base64
import hashlib
import hmac

import aiohttp

from gateway import __version__
from gateway.public_address import CheckedResolver, NotPublic, check_literal

PATIENCE = 15.0
"""Seconds for an attempt."""


class Sender:
    """Sends to one URL. Make it inside the running loop.

    Args:
        url: the receiver.
        key: signs what is sent.
        private: whether the receiver may be at an address that is not public.
    """

    def __init__(self, url: str, key: bytes, *, private: bool) -> None:
        self._url = url
        self._key = key
        self._private = private
        self._session = _session(private=private)

    async def close(self) -> None:
        """Close what is open."""
        await self._session.close()

    async def send(self, message_id: str, body: bytes, timestamp: int) -> str | None:
        """None when the receiver has it, else why not; the arguments are those of `sign`."""
        headers = {
            "content-type": "application/json",
            "user-agent": f"anthropic-gateway/{__version__}",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self._key, message_id, timestamp, body),
        }
        try:
            if not self._private:
                check_literal(self._url)
            async with self._session.post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                return None if 200 <= answer.status < 300 else f"status {answer.status}"
        except (aiohttp.ClientError, OSError) as fault:  # NotPublic and TimeoutError are of the latter
            cause = fault.__cause__ or fault
            return str(cause) if isinstance(cause, NotPublic) else type(fault).__name__


def sign(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`.

    Args:
        key: the secret's bytes.
        message_id: of the message, the same at each attempt.
        timestamp: of the attempt, in seconds since 1970.
        body: as it is sent.
    """
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    return f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"


def _session(*, private: bool) -> aiohttp.ClientSession:
    """A client that goes where it is told and nowhere else: no proxy, no cookies, no cached names."""
    connector = aiohttp.TCPConnector(
        resolver=None if private else CheckedResolver(), use_dns_cache=False, force_close=True
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=PATIENCE),
        auto_decompress=False,
    )
