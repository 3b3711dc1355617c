"""A scenario's figures: collected a round at a time, printed as a table, written as JSON."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import stats

Derivation = Callable[[Sequence[float], Sequence[float]], list[float]]


@dataclass(frozen=True)
class Metric:
    """A column: its name in the JSON, its heading (with the unit), which end is better, and its decimals."""

    name: str
    heading: str
    better: stats.Better
    decimals: int = 0


@dataclass
class Report:
    """All rounds of one scenario: `rounds[label][metric]` is a list with a value for each round."""

    scenario: str
    metrics: Sequence[Metric]
    settings: Mapping[str, Any]
    machine: Mapping[str, str]
    rounds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    derived: dict[str, tuple[str, str, Derivation]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, label: str, **values: float) -> None:
        """Note one round of one target."""
        row = self.rounds.setdefault(label, {})
        for name, value in values.items():
            row.setdefault(name, []).append(value)

    def compare(self, name: str, source: str, reference: str) -> None:
        """Let the metric `name` be `source` beside that of the target `reference`, round by round."""
        self.derived[name] = (source, reference, stats.ratios)

    def subtract(self, name: str, source: str, reference: str) -> None:
        """Let the metric `name` be `source` less that of the target `reference`, round by round."""
        self.derived[name] = (source, reference, stats.differences)

    def summary(self, label: str, metric: Metric) -> stats.Summary | None:
        """`metric` of the target `label`, or None where the target or its reference has no rounds of it.

        The best of a derived metric is derived from the two bests: the best of its rounds would only find the
        round in which the reference was disturbed most.
        """
        if metric.name not in self.derived:
            values = self.rounds[label].get(metric.name)
            return stats.summarise(values, metric.better) if values else None
        source, reference, derive = self.derived[metric.name]
        values, others = self.rounds[label].get(source), self.rounds.get(reference, {}).get(source)
        if not values or not others:
            return None
        better = self._better(source, metric)
        best, other = stats.summarise(values, better).best, stats.summarise(others, better).best
        derived = derive(values, others)
        return stats.Summary(
            stats.summarise(derived, better).median, derive([best], [other])[0], tuple(derived)
        )

    def _better(self, source: str, fallback: Metric) -> stats.Better:
        return next((metric.better for metric in self.metrics if metric.name == source), fallback.better)

    def table(self) -> str:
        """The figures for a terminal: "median (best)" for each target and metric."""
        lines = [[self.scenario, *(metric.heading for metric in self.metrics)]]
        lines += [
            [label, *(_cell(self.summary(label, metric), metric) for metric in self.metrics)]
            for label in self.rounds
        ]
        return "\n".join([_columns(lines), *self.notes])

    def document(self) -> dict[str, Any]:
        """Everything that a reader or another program needs, each round included."""
        figures = {
            label: {
                metric.name: asdict(summary)
                for metric in self.metrics
                if (summary := self.summary(label, metric))
            }
            for label in self.rounds
        }
        return {
            "scenario": self.scenario,
            "machine": dict(self.machine),
            "settings": dict(self.settings),
            "figures": figures,
            "notes": self.notes,
        }

    def write(self, folder: Path) -> Path:
        """Write the document to `folder` under the scenario's name and the time."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.scenario}-{time.strftime('%Y%m%d-%H%M%S')}.json"
        path.write_text(json.dumps(self.document(), indent=1) + "\n")
        return path


def _cell(summary: stats.Summary | None, metric: Metric) -> str:
    if summary is None:
        return "-"
    if len(summary.rounds) == 1:
        return f"{summary.median:,.{metric.decimals}f}"
    return f"{summary.median:,.{metric.decimals}f} ({summary.best:,.{metric.decimals}f})"


def _columns(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rows = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    return "\n".join([rows[0], "-" * len(rows[0]), *rows[1:]])
