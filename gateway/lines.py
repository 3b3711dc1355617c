"""JSON lines said again as the envelope's list, without ever holding them all."""

from collections.abc import AsyncIterator

from gateway.call import Call
from gateway.responses import envelope

_MARK = b"[]"


async def as_envelope_list(call: Call, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The success envelope whose `data` is the list of all lines, in the pieces in which they come.

    Args:
        call: the request that is answered.
        lines: chunks of JSON lines (https://jsonlines.org), cut anywhere.
    """
    first, pending = True, b""
    async for chunk in lines:
        *whole, pending = (pending + chunk).split(b"\n")
        items = b",".join(line for line in whole if line.strip())
        if items:
            yield (_head(call) if first else b",") + items
            first = False
    last = pending if pending.strip() else b""
    yield (_head(call) if first else b"," if last else b"") + last + _tail(call)


def _head(call: Call) -> bytes:
    return envelope(call, _MARK).body.partition(_MARK)[0] + b"["


def _tail(call: Call) -> bytes:
    return b"]" + envelope(call, _MARK).body.partition(_MARK)[2]
