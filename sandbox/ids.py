"""Identifiers: unique over restarts, in the order of their making."""

import itertools
import time


class Ids:
    """Makes ids such as `msg_01…`, unlike any that an earlier run made.

    A store outside (a gateway's ledger) may outlive the sandbox, so counting from one again would give an old
    object's id to a new one.
    """

    def __init__(self, *, run: int | None = None) -> None:
        """`run` tells one run from the next; by default the time of the start in milliseconds."""
        self._run = f"01{time.time_ns() // 1_000_000 if run is None else run:013d}"
        self._next = itertools.count(1).__next__

    def new(self, prefix: str) -> str:
        """A new id that starts with `prefix` and an underscore."""
        return f"{prefix}_{self._run}{self._next():09d}"
