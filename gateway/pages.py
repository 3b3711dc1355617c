"""The pages that the gateway serves itself: files from the disk that ask no other host for anything."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import PurePath

from gateway.call import Call
from gateway.errors import Headers, NotFound
from gateway.responses import Response

MEDIA_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".svg": b"image/svg+xml",
    ".png": b"image/png",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of a page, and the headers that it is served with."""

    file: Traversable
    headers: Headers
    etag: bytes


def load_page(
    files: Mapping[str, Traversable], *, policy: bytes = b"", styles: bytes = b"'self'"
) -> dict[str, Asset]:
    """The files of a page, by name, under a policy that lets them talk to this server alone.

    Args:
        files: where they are, by name; the suffix tells the media type.
        policy: further directives of the Content-Security-Policy.
        styles: the sources that it allows for style sheets.
    """
    headers: Headers = [
        (
            b"content-security-policy",
            b"default-src 'none'; script-src 'self'; style-src %b; img-src 'self' data:; connect-src 'self'; "
            b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'%b" % (styles, policy),
        ),
        (b"referrer-policy", b"no-referrer"),
        (b"x-frame-options", b"DENY"),
        (b"cache-control", b"no-cache"),  # kept, but asked for each time: an upgrade shows at once
    ]
    return {name: _asset(name, file, headers) for name, file in files.items()}


def is_asset(name: str) -> bool:
    """Whether a file is part of a page, by its suffix: an editor may leave others beside it."""
    return PurePath(name).suffix in MEDIA_TYPES


def serve(call: Call, page: Mapping[str, Asset], name: str) -> Response:
    """One file of a page; 304 for a caller that has it (RFC 9110 §13.1.2).

    Raises:
        NotFound: the page has no such file.
    """
    asset = page.get(name)
    if asset is None:
        raise NotFound("the page has no such file")
    known = call.header(b"if-none-match") or b""
    if asset.etag in (tag.strip().removeprefix(b"W/") for tag in known.split(b",")):
        return Response(304, asset.headers, b"")
    return Response(200, asset.headers, asset.file.read_bytes())


def _asset(name: str, file: Traversable, headers: Headers) -> Asset:
    etag = b'"%b"' % hashlib.sha256(file.read_bytes()).hexdigest()[:32].encode()
    kind = MEDIA_TYPES[PurePath(name).suffix]
    return Asset(file, [(b"content-type", kind), (b"etag", etag), *headers], etag)
