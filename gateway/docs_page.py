"""The files of `/docs`: our page, and Swagger UI from its package."""

from importlib.resources import files
from pathlib import Path

import swagger_ui_bundle

from gateway.pages import Asset, load_page

OWN = ("index.html", "initializer.js", "style.css")
VENDORED = (
    "favicon-32x32.png",
    "swagger-ui-bundle.js",
    "swagger-ui-standalone-preset.js",
    "swagger-ui.css",
)


def load_docs() -> dict[str, Asset]:
    """All files of the page, by name. Swagger UI sets `style` attributes: inline styles are let through."""
    own = files("gateway") / "docs"
    vendored = Path(str(swagger_ui_bundle.swagger_ui_path))
    found = {name: own / name for name in OWN} | {name: vendored / name for name in VENDORED}
    return load_page(found, styles=b"'self' 'unsafe-inline'")
