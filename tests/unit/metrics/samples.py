"""Read Prometheus' text format with the library's own parser."""

from prometheus_client.parser import text_string_to_metric_families


class Samples(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    """Values by sample name and labels."""

    def of(self, name: str, **labels: str) -> float:
        """The one sample with exactly these labels."""
        return self[name, frozenset(labels.items())]

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self}

    def labels(self, name: str) -> list[dict[str, str]]:
        """The labels of all samples of a name."""
        return [dict(labels) for found, labels in self if found == name]


def samples(text: bytes) -> Samples:
    return Samples(
        {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text.decode())
            for sample in family.samples
        }
    )
