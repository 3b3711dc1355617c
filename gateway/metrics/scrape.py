"""Answer a scrape with what is counted and what is read, in this process or in all workers."""

from typing import TYPE_CHECKING

from gateway.metrics.exposition import render
from gateway.metrics.instruments import Description, Values
from gateway.metrics.metrics import Metrics
from gateway.metrics.names import PREFIX
from gateway.metrics.readings import READINGS, Readings
from gateway.metrics.workers import Snapshots, Worker

if TYPE_CHECKING:
    from gateway.services import Services

WORKERS = Description(f"{PREFIX}workers", "gauge", "Server processes that run.", across="local")
RESTARTS = Description(
    f"{PREFIX}worker_restarts", "counter", "Server processes that died and were started anew."
)
DESCRIPTIONS = (*Metrics().descriptions, *READINGS, WORKERS, RESTARTS)
"""Of all metrics there are."""


class Scrape:
    """All metrics as `GET /metrics` shows them.

    Args:
        services: where the values live.
        worker: this one of several processes; None where it is the only one.
    """

    def __init__(self, services: "Services", worker: Worker | None = None) -> None:
        self._metrics = services.metrics
        self._readings = Readings(services)
        self._snapshots = None if worker is None else Snapshots(worker, DESCRIPTIONS, self._values)

    async def start(self) -> None:
        """Begin to tell the other workers."""
        if self._snapshots is not None:
            await self._snapshots.start()

    async def close(self) -> None:
        """Tell them for the last time."""
        if self._snapshots is not None:
            await self._snapshots.close()

    async def text(self) -> bytes:
        """The answer to a scrape."""
        await self._readings.refresh()
        values: dict[str, Values]
        living, buried = 1, 0
        if self._snapshots is None:
            values = self._values()
        else:
            joined = self._snapshots.joined()
            values, living, buried = dict(joined.values), joined.living, joined.buried
        return render(DESCRIPTIONS, values | {WORKERS.name: {(): living}, RESTARTS.name: {(): buried}})

    def _values(self) -> dict[str, Values]:
        return self._metrics.values() | self._readings.values()
