"""The table of faults: what a run of this folder saw, kept beside it. docs/reliability.md is made of it.

A test tells what it saw by `Table.saw`. In an ordinary run that must be what the kept table says; with
RECORD_FAULTS set, it is written there (`python -m tools.reliability_page --run`).
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

KEPT = Path(__file__).with_name("table.json")
RECORDING = bool(os.environ.get("RECORD_FAULTS"))

Part = Literal["upstream", "caller", "host"]


@dataclass(frozen=True)
class Row:
    """What became of one fault.

    Attributes:
        part: where the fault was.
        fault: what went wrong, in words.
        outcomes: what the caller got, by the kind of call.
        booked: what the ledger says of the calls.
        metrics: which counters rose.
    """

    part: Part
    fault: str
    outcomes: Mapping[str, str]
    booked: str = ""
    metrics: list[str] = field(default_factory=list)


def kept() -> list[Row]:
    """The rows of the last recorded run."""
    return [Row(**row) for row in json.loads(KEPT.read_text())] if KEPT.exists() else []


class Table:
    """The rows of this run, beside those that are kept."""

    def __init__(self) -> None:
        self._kept = {(row.part, row.fault): row for row in kept()}
        self._seen: dict[tuple[str, str], Row] = {}

    def saw(self, row: Row) -> None:
        """Compare a row with the kept one, or keep it."""
        self._seen[row.part, row.fault] = row
        if not RECORDING:
            kept = self._kept.get((row.part, row.fault))
            assert row == kept, "as intended? then run python -m tools.reliability_page --run"

    def close(self) -> None:
        """Keep the rows of this run, where they are recorded; those that it did not reach stay."""
        if RECORDING:
            rows = [asdict(row) for _, row in sorted((self._kept | self._seen).items())]
            KEPT.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
