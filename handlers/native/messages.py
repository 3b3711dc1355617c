"""Messages as Anthropic has them: the caller's bytes go up, Anthropic's bytes come back."""

from gateway import relay
from gateway.call import Call
from gateway.responses import Response, StreamResponse


async def messages_create(call: Call) -> Response | StreamResponse:
    """One message, whole or as a stream."""
    call.model = call.payload.get("model")
    stream = call.payload.get("stream") is True
    answer = await relay.send_native(call, call.body, streamed=stream, hold=stream)
    if relay.is_event_stream(answer):
        return relay.native_stream(call, answer)
    return await relay.native_whole(call, answer)


async def messages_count_tokens(call: Call) -> Response:
    """How many tokens a message would have; upstream counts, we never guess."""
    return await relay.native_whole(call, await relay.send_native(call, call.body))
