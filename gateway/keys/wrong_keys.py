"""Slowing down those who guess."""

import time
from collections import OrderedDict
from collections.abc import Callable


class WrongKeys:
    """Slows down an address that tries one wrong key after another. A right key is never slowed.

    Args:
        now: the clock, in seconds.
    """

    FREE = 5
    """Wrong keys that cost no time: a mistyped setting, a few restarts."""

    LONGEST = 2.0
    """Seconds that an answer is held back at most."""

    FORGET = 60.0
    """Seconds without a wrong key after which an address is forgotten."""

    ADDRESSES = 4096
    """Addresses remembered; the one silent for longest makes room."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def check(self, address: str) -> float:
        """Count a wrong key.

        Returns:
            Seconds to hold back the answer.
        """
        now = self._now()
        count, last = self._seen.pop(address, (0, now))
        count = 1 if now - last > self.FORGET else count + 1
        self._seen[address] = (count, now)
        if len(self._seen) > self.ADDRESSES:
            self._seen.popitem(last=False)
        excess = count - self.FREE
        return 0.0 if excess <= 0 else min(self.LONGEST, 0.05 * 2.0 ** min(excess, 16))
