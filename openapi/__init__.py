"""The contract: two hand-written OpenAPI documents and what reads them; see README.md."""

import json
from pathlib import Path
from typing import Any

_DIST = Path(__file__).parent / "dist"


def raw(name: str) -> bytes:
    """Return the committed bundle `name` ("native" or "envelope") as it is served.

    Raises:
        FileNotFoundError: there is no such bundle.
    """
    return (_DIST / f"{name}.json").read_bytes()


def load(name: str) -> dict[str, Any]:
    """Return the committed bundle `name` parsed, anew at each call: Connexion changes what it is given.

    Raises:
        FileNotFoundError: there is no such bundle.
    """
    document: dict[str, Any] = json.loads(raw(name))
    return document
