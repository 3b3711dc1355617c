"""JSON lines (https://jsonlines.org), without ever holding them all."""

from collections.abc import AsyncIterator

from gateway.call import Call
from gateway.responses import envelope

_MARK = b"[]"


class LineSplitter:
    """Cuts a byte stream into lines, however the bytes were cut on the way.

    Attributes:
        rest: what came after the last line's end.
    """

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending: list[bytes] = []

    @property
    def rest(self) -> bytes:
        return b"".join(self._pending)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes, without their ends."""
        self._pending.append(chunk)
        if b"\n" not in chunk:
            return []  # the middle of a line, which may be long: it is joined once
        *lines, last = self.rest.split(b"\n")
        self._pending = [last]
        return lines


async def as_envelope_list(call: Call, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The success envelope whose `data` is the list of all lines, in the pieces in which they come.

    Args:
        call: the request that is answered.
        lines: chunks of JSON lines, cut anywhere.
    """
    first, splitter = True, LineSplitter()
    async for chunk in lines:
        items = b",".join(line for line in splitter.feed(chunk) if line.strip())
        if items:
            yield (_head(call) if first else b",") + items
            first = False
    last = splitter.rest if splitter.rest.strip() else b""
    yield (_head(call) if first else b"," if last else b"") + last + _tail(call)


def _head(call: Call) -> bytes:
    return envelope(call, _MARK).body.partition(_MARK)[0] + b"["


def _tail(call: Call) -> bytes:
    return b"]" + envelope(call, _MARK).body.partition(_MARK)[2]
