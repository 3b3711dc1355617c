"""Show the values in Prometheus' text format; the library writes it, so names and escapes are its affair.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from gateway.metrics.instruments import Description, Value, Values

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


def render(descriptions: Iterable[Description], values: Mapping[str, Values]) -> bytes:
    """All values in the text format 0.0.4; what is described but has no value is left out.

    Args:
        descriptions: of all metrics.
        values: by the metric's name.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(descriptions, values))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, descriptions: Iterable[Description], values: Mapping[str, Values]) -> None:
        self._descriptions = descriptions
        self._values = values

    def collect(self) -> Iterable[Metric]:
        for description in self._descriptions:
            if description.name in self._values:
                yield _family(description, self._values[description.name])


def _family(description: Description, values: Values) -> Metric:
    name, text, unit = description.name, description.text, description.unit
    family: Any
    match description.kind:
        case "histogram":
            family = HistogramMetricFamily(name, text, labels=description.labels)
            bounds = [*map(floatToGoString, description.buckets), "+Inf"]
            for labels, (*counts, total) in values.items():
                family.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), total)
        case "summary":
            family = SummaryMetricFamily(name, text, labels=description.labels)
            for labels, (count, total) in values.items():
                family.add_metric(labels, count, total)
        case kind:
            family = (CounterMetricFamily if kind == "counter" else GaugeMetricFamily)(
                name, text, labels=description.labels
            )
            for labels, value in values.items():
                family.add_metric(labels, _last(value) / unit)
    assert isinstance(family, Metric)
    return family


def _last(value: Value) -> float:
    """Of a `latest` gauge the number alone."""
    number: float = value[1] if isinstance(value, list) else value
    return number
