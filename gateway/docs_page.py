"""The files of `/docs`: our page, and Swagger UI from its package. It asks no other host for anything."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import swagger_ui_bundle

from gateway.errors import Headers

OWN = {
    "index.html": "text/html; charset=utf-8",
    "initializer.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
}
VENDORED = {
    "favicon-32x32.png": "image/png",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui-standalone-preset.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
}
SECURITY_HEADERS: Headers = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
]
"""Swagger UI sets `style` attributes, hence 'unsafe-inline' for styles alone."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file and its media type."""

    body: bytes
    headers: Headers


def load_assets() -> dict[str, Asset]:
    """All files of the page, by name."""
    own = files("gateway") / "docs"
    vendored = Path(str(swagger_ui_bundle.swagger_ui_path))
    sources = {name: ((own / name).read_bytes(), kind) for name, kind in OWN.items()}
    sources |= {name: ((vendored / name).read_bytes(), kind) for name, kind in VENDORED.items()}
    return {
        name: Asset(body, [(b"content-type", kind.encode()), *SECURITY_HEADERS])
        for name, (body, kind) in sources.items()
    }
