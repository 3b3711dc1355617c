"""Calls at a time: a gate that lets so many through and queues the rest, first come, first served."""

import asyncio
from collections import deque

from gateway.limits.errors import QueueFullError


class Gate:
    """The gate of one key.

    Args:
        longest_queue: how many may wait.
    """

    __slots__ = ("_longest_queue", "_queue", "running")

    def __init__(self, longest_queue: int) -> None:
        self._longest_queue = longest_queue
        self._queue: deque[asyncio.Future[None]] = deque()
        self.running = 0

    @property
    def queued(self) -> int:
        """How many wait."""
        return len(self._queue)

    def try_enter(self, limit: int) -> bool:
        """Pass without waiting, if there is room and nobody was here before."""
        if self.running < limit and not self._queue:
            self.running += 1
            return True
        return False

    async def enter(self, limit: int, deadline: float) -> None:
        """Pass, or wait in line.

        Args:
            limit: calls at a time.
            deadline: seconds to wait at most.

        Raises:
            QueueFullError: the line is full, or the wait was too long.
        """
        if self.try_enter(limit):
            return
        if len(self._queue) >= self._longest_queue:
            raise QueueFullError
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            async with asyncio.timeout(deadline):
                await turn
        except BaseException as reason:
            if turn.done() and not turn.cancelled():
                self.leave(limit)  # it was our turn at the very moment that we gave up
            else:
                self._queue.remove(turn)
            if isinstance(reason, TimeoutError):
                raise QueueFullError from None
            raise

    def leave(self, limit: int) -> None:
        """Make room and let the next ones in; the limit may have changed meanwhile."""
        self.running -= 1
        while self._queue and self.running < limit:
            turn = self._queue.popleft()
            if not turn.done():
                self.running += 1
                turn.set_result(None)
