"""The worker process: reads questions and bodies from its input, writes readings to its output.

    python -m gateway.large_bodies.worker

Both are pickled between two processes of ours; a frame is its length in eight bytes and its content.
"""

import pickle
import signal
import sys
from typing import Any, BinaryIO

from gateway.errors import BadRequest
from gateway.large_bodies.reading import LENGTH, Question, read


def main() -> None:
    """Serve until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, which means the gateway: it ends the input
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while (question := _frame(source)) is not None:
        body = _frame(source)
        if body is None:
            return
        answer = pickle.dumps(_answer(Question(*pickle.loads(question)), body))  # noqa: S301 - the gateway's own
        sink.write(LENGTH.pack(len(answer)) + answer)
        sink.flush()


def _answer(question: Question, body: bytes) -> Any:
    try:
        return read(question, body)
    except BadRequest as refusal:
        return refusal.message


def _frame(source: BinaryIO) -> bytes | None:
    head = source.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    content = source.read(length)
    return content if len(content) == length else None


if __name__ == "__main__":
    main()
