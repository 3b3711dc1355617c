"""The files of the console at `/`: plain HTML, CSS and ES modules, served as they are written."""

from importlib.resources import files

from gateway.pages import Asset, is_asset, load_page

TRUSTED_TYPES = b"; require-trusted-types-for 'script'; trusted-types 'none'"
"""No text may become markup or code: the browser refuses `innerHTML` and its like."""


def load_console() -> dict[str, Asset]:
    """All files of the page, by name."""
    own = (file for file in (files("gateway") / "console").iterdir() if is_asset(file.name))
    return load_page({file.name: file for file in own}, policy=TRUSTED_TYPES)
