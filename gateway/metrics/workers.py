"""Join the values of several workers, whichever of them is asked.

Each worker writes what it has counted to a file in a folder that they share, once a second and before it
answers a scrape, so that a killed one takes at most the last second with it and nothing that was shown ever
goes back. The supervisor adds the files of dead workers to one for all of them (`bury`). Readers take no
lock: they read the workers' files first and the one for the dead afterwards, which names those in it.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gateway.metrics.instruments import Across, Description, Labels, Value, Values
from gateway.tasks import stop

log = logging.getLogger("gateway")

WRITE_EVERY = 1.0
"""Seconds between snapshots."""

_DEAD = "dead.json"
_PATTERN = "worker-*.json"

Snapshot = Mapping[str, Values]
"""Values by the metric's name."""


class Worker(NamedTuple):
    """One of several processes that serve together.

    Attributes:
        number: its own, never used twice.
        folder: shared with the others, and with nobody else.
    """

    number: int
    folder: Path


class _Dead(NamedTuple):
    numbers: frozenset[int]
    values: Snapshot


class Joined(NamedTuple):
    """What all workers have counted.

    Attributes:
        values: by the metric's name.
        living: how many workers there are.
        buried: how many have died.
    """

    values: Snapshot
    living: int
    buried: int


class Snapshots:
    """One worker's part.

    Args:
        worker: which one.
        descriptions: of all metrics.
        read: gives this worker's values.
    """

    def __init__(
        self, worker: Worker, descriptions: Iterable[Description], read: Callable[[], Snapshot]
    ) -> None:
        self._number, self._folder = worker
        self._descriptions = tuple(descriptions)
        self._shared = {each.name for each in self._descriptions if each.across != "local"}
        self._read = read
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to write."""
        self.write()
        self._task = asyncio.create_task(self._work(), name="metrics-snapshots")

    async def close(self) -> None:
        """Write for the last time."""
        if self._task is not None:
            await stop(self._task)
            self.write()

    def write(self) -> Snapshot:
        """Write this worker's values as they are now, and return them: a full disk hides none of them."""
        values = self._read()
        shared = {name: samples for name, samples in values.items() if name in self._shared}
        try:
            _write(_path(self._folder, self._number), _pack(shared))
        except OSError:
            log.exception("The metrics cannot be written for the other workers")
        return values

    def joined(self) -> Joined:
        """The values of all workers, the dead included."""
        own = self.write()
        others: dict[int, Snapshot] = {}
        for path in self._folder.glob(_PATTERN):
            number = int(path.stem.partition("-")[2])
            if number != self._number:
                with contextlib.suppress(FileNotFoundError):  # buried meanwhile
                    others[number] = _unpack(json.loads(path.read_bytes()))
        dead = _read_dead(self._folder)
        living = [own, *(values for number, values in others.items() if number not in dead.numbers)]
        values = join(self._descriptions, living, dead.values)
        return Joined(values, len(living), len(dead.numbers))

    async def _work(self) -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY)
            try:
                self.write()
            except OSError:
                log.exception("The metrics cannot be read")


def bury(folder: Path, number: int, descriptions: Iterable[Description]) -> None:
    """Keep what a dead worker has counted. For the supervisor, the only one that writes this file.

    Args:
        folder: shared by the workers.
        number: the dead one's.
        descriptions: of all metrics.
    """
    path = _path(folder, number)
    dead = _read_dead(folder)
    counted = [description for description in descriptions if description.kind != "gauge"]
    last = _unpack(json.loads(path.read_bytes())) if path.exists() else {}
    numbers = sorted(dead.numbers | {number})
    _write(folder / _DEAD, {"workers": numbers, "values": _pack(join(counted, [dead.values, last], {}))})
    path.unlink(missing_ok=True)


def join(descriptions: Iterable[Description], living: Iterable[Snapshot], dead: Snapshot) -> Snapshot:
    """Make one snapshot of several.

    Args:
        descriptions: of the metrics to join.
        living: snapshots of which gauges count as well, first that of the worker which is asked.
        dead: what those that are gone have counted.
    """
    joined: dict[str, Values] = {}
    first, *others = living
    for description in descriptions:
        name = description.name
        if description.across == "local":
            parts = [first]
        else:
            parts = [first, *others] if description.kind == "gauge" else [first, *others, dead]
        known = [part[name] for part in parts if name in part]
        if known:
            joined[name] = _join(description.across, known)
    return joined


def _join(across: Across, parts: Iterable[Values]) -> Values:
    joined: dict[Labels, Value] = {}
    for part in parts:
        for labels, value in part.items():
            joined[labels] = _two(across, joined[labels], value) if labels in joined else value
    return joined


def _two(across: Across, one: Value, other: Value) -> Value:
    if across == "sum":
        return [a + b for a, b in zip(one, other, strict=True)] if isinstance(one, list) else one + other
    if across == "min":
        return min(one, other)
    return max(one, other)  # of pairs the later one


def _path(folder: Path, number: int) -> Path:
    return folder / f"worker-{number}.json"


def _read_dead(folder: Path) -> _Dead:
    try:
        found = json.loads((folder / _DEAD).read_bytes())
    except FileNotFoundError:
        return _Dead(frozenset(), {})
    return _Dead(frozenset(found["workers"]), _unpack(found["values"]))


def _write(path: Path, value: object) -> None:
    """Replace a file as a whole, so that nobody reads half of it."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(value, separators=(",", ":")), encoding="utf-8")
    draft.replace(path)


def _pack(values: Snapshot) -> dict[str, list[Any]]:
    return {name: list(samples.items()) for name, samples in values.items()}


def _unpack(packed: Mapping[str, list[Any]]) -> Snapshot:
    return {name: {tuple(labels): value for labels, value in samples} for name, samples in packed.items()}
