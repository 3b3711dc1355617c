"""How evenly a stream comes. It is measured at each piece, so it must cost next to nothing."""

import time
from bisect import bisect_left

from gateway.metrics.names import CHUNK_BUCKETS


class StreamPace:
    """Sorts the pauses of one stream into buckets; they are added to the metric when the stream is over.

    Attributes:
        counts: how many pauses fell into each bucket, the infinite one too.
    """

    __slots__ = ("_first", "_last", "counts")

    def __init__(self) -> None:
        self.counts = [0] * (len(CHUNK_BUCKETS) + 1)
        self._first = self._last = 0.0

    def tick(self) -> None:
        """A piece has come."""
        now = time.perf_counter()
        if self._last:
            self.counts[bisect_left(CHUNK_BUCKETS, now - self._last)] += 1
        else:
            self._first = now
        self._last = now

    @property
    def seconds(self) -> float:
        """The sum of all pauses."""
        return self._last - self._first
