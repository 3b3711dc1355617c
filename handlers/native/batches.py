"""Message batches as Anthropic has them, with `results_url` leading back to the gateway."""

from gateway import relay
from gateway.batches import with_own_results_url
from gateway.call import Call
from gateway.responses import Response, StreamResponse


async def messages_batches_create(call: Call) -> Response:
    """Start a batch."""
    return await _batch(call)


async def messages_batches_list(call: Call) -> Response:
    """A page of batches."""
    return await _batch(call)


async def messages_batches_retrieve(call: Call) -> Response:
    """One batch."""
    return await _batch(call)


async def messages_batches_cancel(call: Call) -> Response:
    """Stop a batch; what is done stays done."""
    return await _batch(call)


async def messages_batches_delete(call: Call) -> Response:
    """Remove a batch that has ended."""
    return await _batch(call)


async def messages_batches_results(call: Call) -> StreamResponse:
    """The results of a batch, line by line as they come."""
    return relay.raw_stream(call, await relay.send_native(call, streamed=True))


async def _batch(call: Call) -> Response:
    answer = await relay.send_native(call, call.body or None)
    return await relay.native_whole(call, answer, with_own_results_url)
