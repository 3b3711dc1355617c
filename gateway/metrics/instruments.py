"""What is counted with: plain numbers by label values, for one thread.

The event loop counts, so nothing is locked; prometheus_client's own objects lock, look up labels and search
buckets one by one, which cost fifteen microseconds a call where these cost three. How they are shown is up
to `gateway.metrics.exposition`.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Labels = tuple[str, ...]

Value = Any
"""A number; of a histogram a list: one count a bucket, one for what is larger, and the sum of all that was
observed; of a summary the count and the sum; of a `latest` gauge when it was told, and the number."""

Values = Mapping[Labels, Value]

Kind = Literal["counter", "gauge", "histogram", "summary"]

Across = Literal["sum", "max", "min", "latest", "local"]
"""How the values of several workers become one: `local` is the same in each, so that the one that is asked
tells its own."""


@dataclass(frozen=True, slots=True)
class Description:
    """A metric as docs/metrics.md tells it.

    Args:
        name: the name of its family; a counter's samples add `_total` to it.
        kind: Prometheus' type.
        text: what it says.
        labels: the names of its labels.
        buckets: upper bounds of a histogram's buckets, the infinite one left out.
        unit: what one of the numbers kept stands for is one `unit`th of what is shown, which keeps sums
            of money exact.
        across: how the values of workers are joined.
    """

    name: str
    kind: Kind
    text: str
    labels: Labels = ()
    buckets: tuple[float, ...] = ()
    unit: int = 1
    across: Across = "sum"


class Count:
    """One series of a counter."""

    __slots__ = ("shown", "value")

    def __init__(self) -> None:
        self.value = 0
        self.shown = False

    def add(self, amount: int) -> None:
        """Count some more."""
        self.value += amount


class Counter:
    """Numbers that only grow, by label values."""

    __slots__ = ("_series", "description")

    def __init__(self, description: Description) -> None:
        self.description = description
        self._series: dict[Labels, Count] = {}

    def labels(self, *labels: str) -> Count:
        """The series with these label values; it shows once it has counted something."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = Count()
        return series

    def begin(self, *labels: str) -> None:
        """Show a series at 0: where one only begins at 1, nobody sees an increase."""
        self.labels(*labels).shown = True

    @property
    def values(self) -> Values:
        """The number of each series."""
        return {labels: one.value for labels, one in self._series.items() if one.value or one.shown}


class Distribution:
    """One series of a histogram.

    Attributes:
        counts: observations by bucket, the infinite one too.
        sum: of all that was observed.
    """

    __slots__ = ("_buckets", "counts", "sum")

    def __init__(self, buckets: tuple[float, ...]) -> None:
        self._buckets = buckets
        self.counts = [0] * (len(buckets) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self._buckets, value)] += 1
        self.sum += value

    def add(self, counts: Sequence[int], total: float) -> None:
        """Count many observations at once.

        Args:
            counts: how many fell into each bucket.
            total: their sum.
        """
        self.counts = [count + more for count, more in zip(self.counts, counts, strict=True)]
        self.sum += total


class Histogram:
    """How many observations fell into which bucket, and their sum, by label values."""

    __slots__ = ("_series", "description")

    def __init__(self, description: Description) -> None:
        self.description = description
        self._series: dict[Labels, Distribution] = {}

    def labels(self, *labels: str) -> Distribution:
        """The series with these label values; it shows once something was observed."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = Distribution(self.description.buckets)
        return series

    @property
    def values(self) -> Values:
        """Counts and sum of each series."""
        return {labels: [*one.counts, one.sum] for labels, one in self._series.items() if any(one.counts)}


Instrument = Counter | Histogram
