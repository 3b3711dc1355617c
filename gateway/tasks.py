"""Tasks that run as long as their owner does."""

import asyncio
from typing import Any


async def stop(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task and wait for its end; None is a task that was never started.

    Raises:
        Exception: what the task had failed with before.
    """
    if task is None:
        return
    task.cancel()
    await asyncio.wait([task])  # unlike awaiting the task, this tells its cancellation from the caller's own
    if not task.cancelled():
        task.result()
