"""What a batch cost, added up while its results pass by: a batch may have 100,000 of them."""

from dataclasses import dataclass
from datetime import date

from gateway.prices import PriceTable
from gateway.usage import Sampling, Usage

TOOLS = ("web_search_requests", "web_fetch_requests", "code_execution_requests")


@dataclass(slots=True)
class Line:
    """The results of one model."""

    total: Sampling
    tools: dict[str, int]
    requests: int = 0
    estimated: int = 0
    cost: int = 0
    priced: bool = True


class Tally:
    """The sums of a batch, by model.

    Args:
        prices: what calls cost.
        priced_on: the day whose prices hold (UTC).
        day: the day to book it on, in BUDGET_TIMEZONE.
    """

    def __init__(self, prices: PriceTable, priced_on: date, day: str) -> None:
        self._prices = prices
        self._priced_on = priced_on
        self.day = day
        self.lines: dict[str, Line] = {}

    def add(self, usage: Usage) -> None:
        """Add one result."""
        cost = self._prices.cost(usage, self._priced_on)
        line = self.lines.get(usage.model)
        if line is None:
            line = self.lines[usage.model] = Line(Sampling(usage.model), dict.fromkeys(TOOLS, 0))
        line.requests += 1
        line.estimated += usage.estimated or not cost.known
        line.cost += cost.nanodollars
        line.priced = line.priced and cost.known
        line.total.add(usage.total)
        for name in TOOLS:
            line.tools[name] += getattr(usage, name)
