"""The files of the console at `/`: plain HTML, CSS and ES modules, served as they are written."""

from importlib.resources import files

from gateway.pages import Asset, load_page

TRUSTED_TYPES = b"; require-trusted-types-for 'script'; trusted-types 'none'"
"""No text may become markup or code: the browser refuses `innerHTML` and its like."""


def load_console() -> dict[str, Asset]:
    """All files of the page, by name."""
    own = files("gateway") / "console"
    found = {file.name: file.read_bytes() for file in own.iterdir() if file.is_file()}
    return load_page(found, policy=TRUSTED_TYPES)
