"""The few statistics that the bench needs, each on plain lists of floats."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median
from typing import Literal

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Summary:
    """One metric of one target over all rounds."""

    median: float
    best: float
    rounds: tuple[float, ...]


def summarise(values: Sequence[float], better: Better) -> Summary:
    """Median and best of `values`; `better` says which end is best. Raises ValueError when empty."""
    if not values:
        raise ValueError("no rounds to summarise")
    return Summary(median(values), min(values) if better == "lower" else max(values), tuple(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the smallest value that at least `percent` of all values do not exceed.

    Raises ValueError when `values` is empty or `percent` lies outside 0 < percent <= 100.
    """
    if not values:
        raise ValueError("no values")
    if not 0 < percent <= 100:
        raise ValueError(f"percent must be in (0, 100], not {percent}")
    return sorted(values)[ceil(len(values) * percent / 100) - 1]


def ratios(values: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Each value beside the reference's of the same round, so that a slow minute of the machine cancels out.

    Raises ValueError when the two have different numbers of rounds.
    """
    return [value / other for value, other in zip(values, reference, strict=True)]


def differences(values: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Each value minus the reference's value of the same round. Raises ValueError as `ratios` does."""
    return [value - other for value, other in zip(values, reference, strict=True)]
