"""What commands print: results on stdout, for eyes or as JSON; how far they are on a terminal's stderr."""

import json
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, TextIO

AT_MOST_EVERY = 0.1
"""Seconds between two states of a line of progress."""

_CLEAR = "\r\x1b[K"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns as wide as their widest cell; the first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def print_json(value: Any) -> None:
    """Print a value as `--json` promises it."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def size(count: float) -> str:
    """Bytes as people read them: 512 B, 1.5 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


class Progress:
    """One line on the terminal that says how far long work is. In a pipe, a file or cron there is none.

    Args:
        what: what is being done, such as `Backup`.
        stream: stderr when left out: stdout is for results.
    """

    def __init__(self, what: str, stream: TextIO | None = None) -> None:
        self._what = what
        self._stream = sys.stderr if stream is None else stream
        self._shown = self._stream.isatty()
        self._last = float("-inf")
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            self._stream.write(_CLEAR)
            self._stream.flush()

    def show(self, state: str) -> None:
        """Say how far the work is."""
        now = time.monotonic()
        if self._shown and now - self._last >= AT_MOST_EVERY:
            self._last = now
            self._stream.write(f"{_CLEAR}{self._what}: {state}")
            self._stream.flush()

    def add_bytes(self, count: int) -> None:
        """Say that some more bytes are done."""
        self._bytes += count
        self.show(size(self._bytes))

    def count(self, done: int, total: int) -> None:
        """Say that so many of so many are done."""
        share = f" ({done * 100 // total} %)" if total else ""
        self.show(f"{done} of {total}{share}")
