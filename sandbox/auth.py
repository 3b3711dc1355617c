"""Who may call: any key but none at all, an empty one, or the word `invalid`."""

import re

from sandbox.errors import ApiError, invalid

VERSION_HEADER = b"anthropic-version"

_VERSION = re.compile(rb"\d{4}-\d{2}-\d{2}")


def check(headers: dict[bytes, bytes]) -> None:
    """Raises `ApiError` 401 without a usable key, 400 without an `anthropic-version`."""
    key = headers.get(b"x-api-key", b"")
    if key == b"invalid":
        raise ApiError(401, "invalid x-api-key")
    if not key:
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not token.strip():
            raise ApiError(401, "x-api-key header is required")
        if token.strip() == b"invalid":
            raise ApiError(401, "Invalid bearer token")
    version = headers.get(VERSION_HEADER)
    if version is None:
        raise invalid("anthropic-version: header is required")
    if not _VERSION.fullmatch(version):
        raise invalid(f'anthropic-version: "{version.decode("latin-1")}" is not a valid version')
