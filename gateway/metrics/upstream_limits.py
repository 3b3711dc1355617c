"""Anthropic's own limits, as the headers of its answers tell them.

Source: https://docs.anthropic.com/en/api/rate-limits#response-headers
"""

import re
import time

from gateway import rfc3339
from gateway.errors import Headers
from gateway.metrics.instruments import Description, Labels, Values
from gateway.metrics.labels import model_class
from gateway.metrics.names import PREFIX

_LABELS = ("kind", "model_class")

LIMIT = Description(f"{PREFIX}ratelimit_limit", "gauge", "What Anthropic allows.", _LABELS, across="latest")
REMAINING = Description(
    f"{PREFIX}ratelimit_remaining", "gauge", "What of it was left after the last answer.", _LABELS,
    across="latest",
)  # fmt: skip
RESET = Description(
    f"{PREFIX}ratelimit_reset_timestamp_seconds", "gauge", "When it will be whole again.", _LABELS,
    across="latest",
)  # fmt: skip

DESCRIPTIONS = (LIMIT, REMAINING, RESET)
KINDS = frozenset(
    {
        "requests", "tokens", "input-tokens", "output-tokens",
        "priority-input-tokens", "priority-output-tokens", "fast-input-tokens", "fast-output-tokens",
    }
)  # fmt: skip

_HEADER = re.compile(rb"anthropic-(?:ratelimit-)?([a-z-]+)-(limit|remaining|reset)")
_METRICS = {"limit": LIMIT.name, "remaining": REMAINING.name, "reset": RESET.name}


class UpstreamLimits:
    """Keeps the headers of the latest answers, and reads them when somebody wants to know."""

    def __init__(self) -> None:
        self._noted: dict[str, tuple[float, Headers]] = {}
        self._values: dict[str, dict[Labels, list[float]]] = {name: {} for name in _METRICS.values()}

    def note(self, model: str, headers: Headers) -> None:
        """Keep an answer's headers; in the way of each call, so nothing is read yet.

        Args:
            model: the label of the model that answered.
            headers: all that came.
        """
        self._noted[model] = (time.time(), headers)

    def values(self) -> dict[str, Values]:
        """When each limit was told last, and what it was then, by the metric's name."""
        noted, self._noted = self._noted, {}
        for model, (told_at, headers) in sorted(noted.items(), key=_time):
            for header, text in headers:
                self._read(model_class(model), told_at, header, text)
        return dict(self._values)

    def _read(self, group: str, told_at: float, header: bytes, text: bytes) -> None:
        found = _HEADER.fullmatch(header)
        if found is None or (kind := found[1].decode()) not in KINDS:
            return
        what = found[2].decode()
        value = _number(text.decode("latin-1"), moment=what == "reset")
        if value is not None:
            self._values[_METRICS[what]][kind.replace("-", "_"), group] = [told_at, value]


def _time(noted: tuple[str, tuple[float, Headers]]) -> float:
    return noted[1][0]


def _number(text: str, *, moment: bool) -> float | None:
    """A count, or a moment in seconds since 1970; None for what is neither."""
    try:
        return rfc3339.parse(text).timestamp() if moment else float(int(text))
    except (ValueError, OverflowError):
        return None
