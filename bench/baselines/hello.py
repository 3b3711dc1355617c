"""The floor of any Python server on this machine: bare uvicorn that reads the body and answers a constant."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from bench.payloads import message_body

_BODY = message_body()
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())]

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]


async def app(scope: Event, receive: Receive, send: Send) -> None:
    """Answer every HTTP request with the bench's message."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})
