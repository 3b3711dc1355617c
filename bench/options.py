"""What a run was asked to do."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """The command line, parsed. Every scenario reads what it needs and writes all of it into its report."""

    subjects: list[str]
    rounds: int
    seconds: float
    connections: int
    gateway_core: int
    load_core: int
    streams: list[int]
    megabytes: int
    rows: int
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    def public(self) -> dict[str, object]:
        """The settings that belong in a report: everything but the temporary folder."""
        return {name: value for name, value in vars(self).items() if name != "folder"}
