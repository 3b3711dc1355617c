"""Clocks that do not wait: one that stands still, and an event loop's that jumps."""

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable
from typing import Any


class Clock:
    """Tells `now`, in seconds since 1970, until a test sets it anew."""

    def __init__(self, now: float = 1_795_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def hurried(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test in an event loop whose time goes by only while nothing is to be done, and then at once.

    However busy the machine is, timers come in their order and nothing comes late.
    """

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=_HurriedLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


class _HurriedLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._selected = _NoWait()
        super().__init__(self._selected)

    def time(self) -> float:
        return self._selected.now


class _NoWait(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return super().select(None if timeout is None else 0)
