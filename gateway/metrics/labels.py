"""Label values: each comes from a closed set, whatever callers send."""

import fcntl
import logging
import re
from pathlib import Path

from gateway.call import Call
from gateway.errors import ERROR_STATUSES

log = logging.getLogger("gateway")

OTHER = "other"
"""The label of models that the price table does not know, and of names after the first of their kind."""

NONE = "none"
"""The label where there is nothing to name: no key was shown, no model was asked for."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CLASS = re.compile(r"claude-(?:[\d-]+-)?([a-z]+)")


class CappedLabels:
    """Gives names out as labels, first come first served; those that come too late share `other`.

    Args:
        most: how many names get a label of their own.
        shared: a file in which the workers of a gateway agree on who came first; None for one process.
            Without it a name could stand for itself in one worker and under `other` in the next.
    """

    def __init__(self, most: int, shared: Path | None = None) -> None:
        self._most = most
        self._shared = shared
        self._taken: set[str] = set()

    def __call__(self, name: str) -> str:
        """The name itself, or `other`."""
        return name if name in self._taken else self._assign(name)

    def _assign(self, name: str) -> str:
        if len(self._taken) < self._most:
            if self._shared is None:
                self._taken.add(name)
            else:
                try:
                    self._taken = _agree(self._shared, name, self._most)
                except OSError:  # a disk that is full: the next call asks again
                    log.exception("The workers cannot agree on labels")
        return name if name in self._taken else OTHER


def _agree(path: Path, name: str, most: int) -> set[str]:
    """Enter a name where there is room; returns all that are entered. No name holds a line end."""
    with path.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        taken = set(file.read().split("\n")) - {""}
        if name not in taken and len(taken) < most:
            file.write(f"{name}\n")
            taken.add(name)
    return taken


def method_label(method: str) -> str:
    """An HTTP method that is known, else `other`."""
    return method if method in _METHODS else OTHER


def outcome_label(call: Call) -> str:
    """How a call to upstream ended: `ok`, `cancelled`, an `error.type`, or a status."""
    if call.disconnected:
        return "cancelled"
    if call.stream_error is not None:
        return call.stream_error if call.stream_error in ERROR_STATUSES else OTHER
    return "ok" if call.status < 400 else str(call.status)


def model_class(model: str) -> str:
    """The class by which Anthropic limits a model (`opus`, `sonnet`, …), read from its name.

    Args:
        model: a label: a name that the price table knows, or `other`.
    """
    found = _CLASS.match(model)
    return OTHER if found is None else found[1]
