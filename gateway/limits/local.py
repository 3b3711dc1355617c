"""Counts in the memory of this process."""

from collections.abc import Callable

from gateway.limits.window import SECONDS, Demand, Window


class LocalCounters:
    """Sliding windows by name. Nothing here waits, so a check and its count cannot be parted by another call.

    Args:
        now: the clock, in seconds; it must not jump.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._windows: dict[str, _Counts] = {}

    def take(self, demand: Demand) -> tuple[bool, Window]:
        """Count what a call asks if it fits.

        Returns:
            Whether it was counted, and the window after that.
        """
        name, limit, amount = demand
        now = self._now()
        counts = self._windows.get(name)
        if counts is None or now >= counts.ends:
            counts = self._advance(name, now)
        current = counts.current + amount
        window = Window(counts.previous, current, counts.ends - now)
        if window.used + (not amount) > limit:
            return False, Window(counts.previous, counts.current, window.left)
        counts.current = current
        return True, window

    def add(self, name: str, amount: int) -> None:
        """Count an amount whether it fits or not; a negative one gives back."""
        counts = self._advance(name, self._now())
        counts.current += amount
        if counts.current < 0:  # what is given back was counted in the former window
            counts.previous = max(0, counts.previous + counts.current)
            counts.current = 0

    def look(self, name: str) -> Window:
        """The window as it stands."""
        now = self._now()
        counts = self._advance(name, now)
        return Window(counts.previous, counts.current, counts.ends - now)

    def _advance(self, name: str, now: float) -> "_Counts":
        """The counts of a name, in the window of this moment."""
        counts = self._windows.get(name)
        if counts is None:
            counts = self._windows[name] = _Counts(now + SECONDS)
        elif now >= counts.ends:
            passed = int((now - counts.ends) // SECONDS) + 1
            counts.previous = counts.current if passed == 1 else 0
            counts.current = 0
            counts.ends += passed * SECONDS
        return counts


class _Counts:
    """Two windows, and when the running one ends."""

    __slots__ = ("current", "ends", "previous")

    def __init__(self, ends: float) -> None:
        self.previous = self.current = 0
        self.ends = ends
