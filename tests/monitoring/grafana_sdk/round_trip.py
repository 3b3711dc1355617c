"""Read dashboards with Grafana's own SDK and write them again; it fails where something is lost or changed.

python round_trip.py FILE...
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard


def losses(before: Any, after: Any, place: str = "") -> Iterator[str]:
    """Where `after` lacks something of `before`; defaults may have come to it."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in before:
            yield from losses(before[name], after.get(name), f"{place}/{name}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from losses(one, other, f"{place}/{number}")
    elif before != after:
        yield f"{place}: {before!r} became {after!r}"


plugins.register_default_plugins()
found = []
for file in map(Path, sys.argv[1:]):
    document = json.loads(file.read_text())
    written = json.loads(JSONEncoder().encode(Dashboard.from_json(document)))
    found += [f"{file.name}{loss}" for loss in losses(document, written)]
sys.exit("\n".join(found) or 0)
