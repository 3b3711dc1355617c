"""The prompt cache: which prefix of a prompt has been seen before, and for how long that is remembered."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.http import dump
from sandbox.prompts import Segment

_SECONDS = {"5m": 300, "1h": 3600}
_MAX_ENTRIES = 10_000


@dataclass(slots=True)
class InputUsage:
    """The input tokens of one request, as Anthropic splits them."""

    uncached: int = 0
    read: int = 0
    written_5m: int = 0
    written_1h: int = 0

    @property
    def total(self) -> int:
        """All input tokens: what `count_tokens` says."""
        return self.uncached + self.read + self.written_5m + self.written_1h


class PromptCache:
    """Remembers prefixes at their breakpoints; a read renews them. There is no least length."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._expiries: OrderedDict[bytes, float] = OrderedDict()

    def use(self, model: str, prompt: list[Segment]) -> InputUsage:
        """Looks the prompt up, writes what its breakpoints ask for, and says what was read and written."""
        last = max((index for index, segment in enumerate(prompt) if segment.ttl), default=-1)
        usage = InputUsage(uncached=sum(segment.tokens for segment in prompt[last + 1 :]))
        if last < 0:
            return usage
        now = self._clock()
        cached = prompt[: last + 1]
        keys = _keys(model, cached)
        hit = max((index for index, key in enumerate(keys) if self._expiries.get(key, 0.0) > now), default=-1)
        usage.read = sum(segment.tokens for segment in cached[: hit + 1])
        pending = 0
        for index, segment in enumerate(cached):
            pending += segment.tokens if index > hit else 0
            if segment.ttl:
                self._remember(keys[index], now + _SECONDS.get(segment.ttl, 300))
                if segment.ttl == "1h":
                    usage.written_1h += pending
                else:
                    usage.written_5m += pending
                pending = 0
        return usage

    def _remember(self, key: bytes, expiry: float) -> None:
        self._expiries[key] = max(expiry, self._expiries.get(key, 0.0))
        self._expiries.move_to_end(key)
        if len(self._expiries) > _MAX_ENTRIES:
            self._expiries.popitem(last=False)


def _keys(model: str, prompt: list[Segment]) -> list[bytes]:
    """A key for each prefix: a chain of hashes, so that each block is hashed once."""
    chain = hashlib.blake2b(model.encode(), digest_size=16)
    keys = []
    for segment in prompt:
        block = {key: value for key, value in segment.block.items() if key != "cache_control"}
        chain.update(segment.role.encode() + dump(block))
        keys.append(chain.digest())
    return keys
