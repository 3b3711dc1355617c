"""Take in a request body, never more of it than the operation allows."""

from collections.abc import AsyncIterator

from starlette.types import Message

from gateway.call import Call
from gateway.catalog import Operation
from gateway.errors import BadRequest, CallerGone, ContentTooLarge

MEGABYTE = 1_000_000
JSON_LIMIT = 32 * MEGABYTE
BATCH_LIMIT = 256 * MEGABYTE
FILE_LIMIT = 500 * MEGABYTE
"""Anthropic's own sizes (https://docs.anthropic.com/en/api/errors#request-size-limits)."""

OWN_LIMIT = MEGABYTE
"""Of keys, which hold names and numbers."""

MULTIPART_ALLOWANCE = MEGABYTE
"""What boundaries and part headers may add to a file."""

BATCH_CREATES = frozenset({"messages_batches_create", "create_batch"})


class BodyReader:
    """Reads the bodies of one operation.

    Args:
        operation: tells how large they may be.
    """

    def __init__(self, operation: Operation) -> None:
        self.limit = OWN_LIMIT if operation.tag == "keys" else JSON_LIMIT
        if operation.id in BATCH_CREATES:
            self.limit = BATCH_LIMIT
        elif "multipart/form-data" in operation.request_types:
            self.limit = FILE_LIMIT + MULTIPART_ALLOWANCE

    def check_length(self, call: Call) -> int | None:
        """The announced length in bytes, or None for a chunked body.

        Raises:
            ContentTooLarge: it is above the limit.
        """
        announced = call.content_length
        if announced is None:
            return None
        if not announced.isdigit():
            raise BadRequest("Content-Length must be a number")
        if int(announced) > self.limit:
            # What comes of it is dropped. To close the connection meanwhile would take the answer with it.
            raise ContentTooLarge(self._refusal)
        return int(announced)

    async def read(self, call: Call) -> bytes:
        """The whole body.

        Raises:
            ContentTooLarge: it grows above the limit.
        """
        self.check_length(call)
        message = await call.receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            return self._within_limit(message.get("body", b""))
        parts, size = [], 0
        async for part in self._rest(call, message):
            size += len(part)
            if size > self.limit:
                raise self._too_large()
            parts.append(part)
        return b"".join(parts)

    async def stream(self, call: Call) -> AsyncIterator[bytes]:
        """The body in the pieces in which it comes; afterwards the caller is watched.

        Raises:
            ContentTooLarge: it grows above the limit.
        """
        size = 0
        async for part in self._rest(call, await call.receive()):
            size += len(part)
            if size > self.limit:
                raise self._too_large()
            yield part
        call.watch()

    async def _rest(self, call: Call, message: Message) -> AsyncIterator[bytes]:
        while True:
            if message["type"] == "http.disconnect":
                call.disconnected = True
                raise CallerGone("the caller hung up")
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body"):
                return
            message = await call.receive()

    def _within_limit(self, body: bytes) -> bytes:
        if len(body) > self.limit:
            raise self._too_large()
        return body

    def _too_large(self) -> ContentTooLarge:
        """Of a body whose end nobody knows."""
        return ContentTooLarge(self._refusal, headers=[(b"connection", b"close")])

    @property
    def _refusal(self) -> str:
        return f"the body is larger than {self.limit // MEGABYTE} MB"


def media_type(content_type: bytes) -> tuple[bytes, bytes]:
    """Media type and charset of a Content-Type value, in lower case, empty where absent (RFC 9110 §8.3)."""
    kind, _, parameters = content_type.lower().partition(b";")
    charset = b""
    for parameter in parameters.split(b";"):
        name, _, value = parameter.strip().partition(b"=")
        if name == b"charset":
            charset = value.strip(b'" ')
    return kind.strip(), charset
