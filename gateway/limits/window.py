"""The sliding window counter, as the `limits` library counts: two fixed windows, the former one fading out.

It takes two numbers a limit whatever the rate, and lets no more than the limit through in any minute if calls
come evenly (https://limits.readthedocs.io/en/stable/strategies.html#sliding-window-counter).
"""

import math
from typing import NamedTuple

SECONDS = 60
"""All limits are by the minute."""


class Demand(NamedTuple):
    """What a call asks of one limit.

    Attributes:
        name: of the window.
        limit: what is allowed a minute.
        amount: what the call takes; 0 asks only whether the limit is used up.
    """

    name: str
    limit: int
    amount: int


class Window(NamedTuple):
    """What one limit has counted.

    Attributes:
        previous: the count of the former window.
        current: the count of the running one.
        left: seconds until the running one ends.
    """

    previous: int
    current: int
    left: float

    @property
    def used(self) -> int:
        """What counts now: the running window, and of the former one what still lies within a minute."""
        return (int(self.previous * self.left / SECONDS) if self.previous else 0) + self.current

    def fits(self, demand: Demand) -> bool:
        """Whether there is room for what a call asks."""
        return self.used + max(demand.amount, 1) <= demand.limit

    def remaining(self, limit: int) -> int:
        """What may still come."""
        return max(0, limit - self.used)

    def retry_after(self, demand: Demand) -> float:
        """Seconds until there is room, if nothing else comes; 0 when there is now."""
        room = demand.limit - max(demand.amount, 1)
        if self.current <= room:  # the former window need only fade
            return self._fade(self.previous, room - self.current, self.left)
        return self.left + self._fade(self.current, room, SECONDS)

    def reset_after(self) -> float:
        """Seconds until the limit is whole again, if nothing else comes."""
        if self.current > 0:
            return self.left + SECONDS
        return self.left if self.previous > 0 else 0.0

    @staticmethod
    def _fade(count: int, room: int, left: float) -> float:
        """Seconds until so much of a former window has faded that what counts of it fits into the room."""
        if count <= 0 or math.floor(count * left / SECONDS) <= room:
            return 0.0
        return max(0.0, left - (room + 1) * SECONDS / count) + 0.001
