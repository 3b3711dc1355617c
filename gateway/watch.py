"""Notices callers that hang up while their answer is awaited, which no stock ASGI set-up does.

A task that waits for the end of the connection is made only for calls that take longer than WATCH_AFTER. One
timer serves all calls: a quick one costs an entry in a line.
"""

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.call import Call

WATCH_AFTER = 0.1
"""Seconds after which a request that is still running begins to be watched."""


class Watched:
    """One call's place in the line."""

    __slots__ = ("_task", "call", "since")

    def __init__(self, call: "Call", since: float) -> None:
        self.call: Call | None = call
        self.since = since
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Cancel the call's task as soon as its caller hangs up."""
        if self.call is not None:
            self._task = asyncio.get_running_loop().create_task(_await_disconnect(self.call))

    def end(self) -> None:
        """The answer is out: nothing is to be noticed any more."""
        self.call = None
        if self._task is not None:
            self._task.cancel()


class Watch:
    """The line of calls that are not watched yet."""

    def __init__(self) -> None:
        self._line: deque[Watched] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, call: "Call") -> Watched:
        """Watch a call, if it takes long, until `Watched.end`. Its body must have been read."""
        watched = Watched(call, time.perf_counter())
        self._line.append(watched)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER, self._look)
        return watched

    def _look(self) -> None:
        due = time.perf_counter() - WATCH_AFTER
        while self._line and (self._line[0].call is None or self._line[0].since <= due):
            self._line.popleft().begin()
        wait = self._line[0].since - due if self._line else None
        self._timer = None if wait is None else asyncio.get_running_loop().call_later(wait, self._look)


async def _await_disconnect(call: "Call") -> None:
    while (await call.receive())["type"] != "http.disconnect":
        continue
    call.disconnected = True
    if call.task is not None:
        call.task.cancel()
