"""Messages in the envelope: Anthropic's answer, unchanged, between `success` and `metadata`."""

from gateway import relay
from gateway.call import Call
from gateway.large_bodies import upstream_body
from gateway.responses import Response, StreamResponse


async def create_message(call: Call) -> Response:
    """One message."""
    call.model = call.payload["model"]
    answer = await relay.send_envelope(call, "POST", "/v1/messages", upstream_body(call))
    return await relay.envelope_whole(call, answer)


async def stream_message(call: Call) -> Response | StreamResponse:
    """One message as a stream of events.

    Libraries that POST an EventSource post again after every end, with `Last-Event-ID`: that is never a new
    paid call, and 204 tells them to stop
    (https://html.spec.whatwg.org/multipage/server-sent-events.html#sse-processing-model).
    """
    if call.header(b"last-event-id") is not None:
        return Response(204, [], b"")
    call.model = call.payload["model"]
    answer = await relay.send_envelope(
        call, "POST", "/v1/messages", upstream_body(call), streamed=True, hold=True
    )
    if relay.is_event_stream(answer):
        return relay.envelope_stream(call, answer)
    return await relay.envelope_whole(call, answer)


async def count_tokens(call: Call) -> Response:
    """How many tokens a message would have; upstream counts, we never guess."""
    answer = await relay.send_envelope(call, "POST", "/v1/messages/count_tokens", upstream_body(call))
    return await relay.envelope_whole(call, answer)
