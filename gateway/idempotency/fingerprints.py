"""By what a request is known that comes with an idempotency key: the key, and its own fingerprint."""

import hashlib
import re
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gateway.errors import BadRequest, Headers

LONGEST_KEY = 255

OF_AN_SDK = b"stainless-"
"""Begins keys that an SDK makes by itself: nobody has asked to have anything kept."""

_KEY = re.compile(rb"[!-~]{1,%d}" % LONGEST_KEY)


def idempotency_key(headers: Headers) -> bytes | None:
    """The key that a caller chose, or None where it chose none.

    Source: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/ (quoted or not).

    Raises:
        BadRequest: it is empty, too long, holds blanks or other than ASCII, or came more than once.
    """
    values = [value for name, value in headers if name == b"idempotency-key"]
    if not values:
        return None
    if len(values) > 1 or not _KEY.fullmatch(values[0]):
        raise BadRequest(f"header Idempotency-Key: must be one word of 1 to {LONGEST_KEY} ASCII characters")
    return None if values[0].startswith(OF_AN_SDK) else values[0]


def fingerprint(method: str, target: str, body: bytes) -> bytes:
    """What tells requests apart that come with the same key."""
    return _start(method, target, body).digest()


class FormFingerprint:
    """The same of a multipart form, made while its bytes go by: of its parts, for each request has a boundary
    of its own. Nothing is held.

    Args:
        method: of the request.
        target: its raw path and query.
        content_type: its Content-Type, which names the boundary.
    """

    def __init__(self, method: str, target: str, content_type: bytes) -> None:
        self._whole = _start(method, target)
        self._part = hashlib.sha256()
        self._name = b""
        self._value = b""
        self._ended = False
        callbacks: Any = {
            "on_part_begin": self._part_begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        try:
            self._parser = MultipartParser(boundary, callbacks) if boundary else None
        except FormParserError:
            self._parser = None

    def feed(self, chunk: bytes) -> None:
        """Take in what goes by."""
        if self._parser is None:
            return
        try:
            self._parser.write(chunk)
        except FormParserError:  # whoever judges the form will say so
            self._parser = None

    def digest(self) -> bytes | None:
        """The fingerprint, once all went by; None for what is no whole form."""
        return self._whole.digest() if self._parser is not None and self._ended else None

    def _part_begin(self) -> None:
        self._part = hashlib.sha256()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        _add(self._part, self._name.lower())
        _add(self._part, self._value)
        self._name = self._value = b""

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._part.update(memoryview(data)[start:end])

    def _part_end(self) -> None:
        self._whole.update(self._part.digest())

    def _end(self) -> None:
        self._ended = True


def _start(method: str, target: str, *parts: bytes) -> "hashlib._Hash":
    whole = hashlib.sha256()
    for part in (method.encode(), target.encode("latin-1"), *parts):
        _add(whole, part)
    return whole


def _add(to: "hashlib._Hash", part: bytes) -> None:
    """Add a part so that its end can be told."""
    to.update(b"%d:" % len(part))
    to.update(part)
