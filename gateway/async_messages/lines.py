"""Whose turn it is: each key's messages stand in one line, and all running ones share a number of places."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from gateway.tasks import keep

log = logging.getLogger(__name__)

AGAIN_AFTER = 1.0
"""Seconds that a line stands still when its head cannot be brought to its run."""


class Lines:
    """One line a key. The head of each asks for the key's own limits, so that a long line takes no more room
    in them than one call, and no key stands in the way of another.

    Args:
        head: brings the message at the head of a line to its run; it may take its time.
    """

    def __init__(self, head: Callable[[str, str], Awaitable[None]]) -> None:
        self._head = head
        self._lines: dict[str, deque[str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """How many stand in all lines."""
        return sum(map(len, self._lines.values()))

    def join(self, key_id: str, message_id: str) -> None:
        """Stand in line."""
        line = self._lines.get(key_id)
        if line is not None:
            line.append(message_id)
            return
        self._lines[key_id] = deque([message_id])
        keep(self._serve(key_id), self._tasks, "async-messages-line")

    async def close(self) -> None:
        """Stop; who stands in line stays in the database."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, key_id: str) -> None:
        line = self._lines[key_id]
        try:
            while line:
                try:
                    await self._head(key_id, line[0])
                except Exception:  # the database is away, say; the line stands still meanwhile
                    log.exception("A line of asynchronous messages stands still")
                    await asyncio.sleep(AGAIN_AFTER)
                else:
                    line.popleft()
        finally:
            del self._lines[key_id]
