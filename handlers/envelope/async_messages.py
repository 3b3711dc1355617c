"""Messages that are answered in their own time: the gateway's own resource (docs/adr/0011)."""

import json

from gateway.call import Call
from gateway.json_body import parse_answer
from gateway.responses import Response, answer, envelope

PATH = "/api/v1/messages/async"


async def create_async_message(call: Call) -> Response:
    """One message, answered in its own time."""
    assert call.key is not None
    model = call.payload["model"]
    message = await call.services.async_messages.accept(call.key, call.headers, call.body, model)
    location = (b"location", f"{PATH}/{message.id}".encode())
    return answer(
        call, {**message.describe(), "message": None, "error": None}, status=202, headers=[location]
    )


async def get_async_message(call: Call, async_message_id: str) -> Response:
    """An asynchronous message as it is now; Anthropic's bytes are spliced in as they came."""
    assert call.key is not None
    message, kept = await call.services.async_messages.find(call.key, async_message_id)
    told = message.describe()
    if kept is None:
        return answer(call, {**told, "message": None, "error": None})
    name, other = ("message", "error") if message.status == "succeeded" else ("error", "message")
    told[other] = None
    data = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
    whole = b'%b,"%b":%b}' % (data[:-1], name.encode(), kept)
    return envelope(call, whole, {**told, name: parse_answer(kept)})


async def delete_async_message(call: Call, async_message_id: str) -> Response:
    """The end of an asynchronous message, or of what is kept of it."""
    assert call.key is not None
    outcome = await call.services.async_messages.remove(call.key, async_message_id)
    return answer(call, {"id": async_message_id, "outcome": outcome})
