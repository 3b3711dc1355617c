"""Rate limit headers: they count, but nothing is ever refused for them (scenario `429` does that)."""

import time
from datetime import UTC, datetime

from sandbox.errors import Headers

_WINDOW = 60  # seconds
_LIMITS = {
    b"requests": 50_000,
    b"input-tokens": 50_000_000,
    b"output-tokens": 10_000_000,
    b"tokens": 60_000_000,
}
_GRAIN = 1_000
"""Anthropic rounds remaining tokens to thousands."""


class RateLimits:
    """What is left of the current minute, as headers."""

    def __init__(self) -> None:
        self._ends = 0.0
        self._reset = b""
        self._used = dict.fromkeys(_LIMITS, 0)

    def count(self, *, input_tokens: int, output_tokens: int) -> None:
        """Books the tokens of one message."""
        used = self._used
        used[b"input-tokens"] += input_tokens
        used[b"output-tokens"] += output_tokens
        used[b"tokens"] += input_tokens + output_tokens

    def headers(self) -> Headers:
        """The `anthropic-ratelimit-*` headers of one answer, which counts as a request."""
        now = time.time()
        if now >= self._ends:
            self._ends = now - now % _WINDOW + _WINDOW
            self._reset = datetime.fromtimestamp(self._ends, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
            self._used = dict.fromkeys(_LIMITS, 0)
        self._used[b"requests"] += 1
        headers: Headers = []
        for name, limit in _LIMITS.items():
            left = max(0, limit - self._used[name])
            if name != b"requests":
                left -= left % _GRAIN
            prefix = b"anthropic-ratelimit-" + name
            headers += (
                (prefix + b"-limit", b"%d" % limit),
                (prefix + b"-remaining", b"%d" % left),
                (prefix + b"-reset", self._reset),
            )
        return headers
