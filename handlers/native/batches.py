"""Message batches as Anthropic has them, with `results_url` leading back to the gateway."""

from gateway import relay
from gateway.batches import batch_or_kept, deleted_with_kept, results_or_kept, with_own_results_url
from gateway.call import Call
from gateway.responses import Response, StreamResponse


async def messages_batches_create(call: Call) -> Response:
    """Start a batch, where the key's budget is not used up."""
    await call.services.accounting.check_budget(call)
    return await _batch(call)


async def messages_batches_list(call: Call) -> Response:
    """A page of batches."""
    return await _batch(call)


async def messages_batches_retrieve(call: Call, message_batch_id: str) -> Response:
    """One batch; the gateway remembers it when Anthropic does not."""
    answer = await batch_or_kept(call, message_batch_id, await relay.send_native(call))
    return await relay.native_whole(call, answer, with_own_results_url)


async def messages_batches_cancel(call: Call) -> Response:
    """Stop a batch; what is done stays done."""
    return await _batch(call)


async def messages_batches_delete(call: Call, message_batch_id: str) -> Response:
    """Remove a batch that has ended, and what is kept of it; what it cost is booked first."""
    await call.services.batch_costs.settle(message_batch_id)
    answer = await deleted_with_kept(call, message_batch_id, await relay.send_native(call))
    return await relay.native_whole(call, answer)


async def messages_batches_results(call: Call, message_batch_id: str) -> StreamResponse:
    """The results of a batch, line by line as they come; kept ones where Anthropic has none any more."""
    answer = await results_or_kept(call, message_batch_id, await relay.send_native(call, streamed=True))
    response = relay.raw_stream(call, answer)
    if response.status == 200:
        response.chunks = call.services.batch_costs.read_along(message_batch_id, response.chunks)
    return response


async def _batch(call: Call) -> Response:
    answer = await relay.send_native(call, call.body or None)
    return await relay.native_whole(call, answer, with_own_results_url)
