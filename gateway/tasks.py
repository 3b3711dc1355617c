"""Tasks that run as long as their owner does."""

import asyncio
from collections.abc import Coroutine
from typing import Any


def keep(
    work: Coroutine[Any, Any, None], kept: set[asyncio.Task[None]], name: str | None = None
) -> asyncio.Task[None]:
    """Begin a task, and keep it until it has ended: the loop alone would let it be collected.

    Args:
        work: what it does.
        kept: its owner's tasks.
        name: of the task.
    """
    task = asyncio.get_running_loop().create_task(work, name=name)
    kept.add(task)
    task.add_done_callback(kept.discard)
    return task


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
