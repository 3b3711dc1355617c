"""The gateway's end of the worker process."""

import asyncio
import contextlib
import logging
import os
import pickle
import sys
from pathlib import Path

from gateway.errors import BadRequest, ServiceUnavailable
from gateway.large_bodies.reading import LENGTH, Question, Reading

IDLE_SECONDS = 60.0
"""How long the process is kept for the next large body: it holds some 60 MB."""

READ_SECONDS = 60.0
"""How long a body may take: 256 MB take about ten."""

PIECE = 1 << 16
"""Bytes written at once, as many as a pipe takes."""

PROGRAM = (sys.executable, "-m", "gateway.large_bodies.worker")

log = logging.getLogger("gateway")


class LargeBodies:
    """Reads large bodies, one after the other, in a process that is there while it is needed."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._readings: set[asyncio.Task[Reading | str]] = set()

    async def read(self, question: Question, body: bytes) -> Reading:
        """Parse and judge a body.

        Raises:
            BadRequest: it is no JSON.
            ServiceUnavailable: the process died of it, or took too long: out of memory, most likely.
        """
        # A caller who leaves must not leave half a body in the pipe.
        task = asyncio.create_task(self._ask(question, body))
        self._readings.add(task)
        task.add_done_callback(self._forget)
        answer = await asyncio.shield(task)
        if isinstance(answer, str):
            raise BadRequest(answer)
        return answer

    async def close(self) -> None:
        """End the process."""
        if self._readings:
            await asyncio.wait(self._readings)
        await self._end()

    async def _ask(self, question: Question, body: bytes) -> Reading | str:
        async with self._turn:
            if self._idle is not None:
                self._idle.cancel()
                self._idle = None
            try:
                async with asyncio.timeout(READ_SECONDS):
                    answer = await self._exchange(pickle.dumps(tuple(question)), body)
            except (TimeoutError, OSError, asyncio.IncompleteReadError):
                log.exception("The reader of large bodies failed")
                await self._end()
                raise ServiceUnavailable("the body asks too much of this machine to be read") from None
            self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._stop_input)
            return answer

    async def _exchange(self, question: bytes, body: bytes) -> Reading | str:
        process = self._process
        if process is None or process.returncode is not None or _ended(process):
            await self._end()
            process = self._process = await asyncio.create_subprocess_exec(
                *PROGRAM,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,  # what it dies of may quote the body
                env=_environment(),
            )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(LENGTH.pack(len(question)) + question + LENGTH.pack(len(body)))
        for start in range(0, len(body), PIECE):
            process.stdin.write(body[start : start + PIECE])
            await process.stdin.drain()
        (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
        answer: Reading | str = pickle.loads(await process.stdout.readexactly(length))  # noqa: S301 - our own
        return answer

    async def _end(self) -> None:
        process, self._process = self._process, None
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    def _stop_input(self) -> None:
        """Nothing large has come for a while: the process ends with its input."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def _forget(self, task: asyncio.Task[Reading | str]) -> None:
        self._readings.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also when the caller is gone


def _ended(process: asyncio.subprocess.Process) -> bool:
    return process.stdin is None or process.stdin.is_closing()


def _environment() -> dict[str, str]:
    """Of ours only what finding the program takes: it needs no secret."""
    return {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": os.environ.get("PATH", os.defpath)}
