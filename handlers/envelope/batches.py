"""Message batches in the envelope."""

from gateway import relay
from gateway.batches import (
    PATH,
    batch_or_kept,
    deleted_with_kept,
    item,
    results_or_kept,
    with_own_results_url,
)
from gateway.call import Call
from gateway.errors import Conflict, UpstreamError
from gateway.large_bodies import upstream_body
from gateway.lines import as_envelope_list
from gateway.negotiation import prefers
from gateway.pagination import cursors
from gateway.responses import JSON_TYPE, ChunkResponse, Response, StreamResponse

JSON_LINES = "application/x-jsonl"


async def create_batch(call: Call) -> Response:
    """Start a batch, where the key's budget is not used up."""
    await call.services.accounting.check_budget(call)
    return await _batch(call, "POST", PATH, upstream_body(call))


async def list_batches(call: Call) -> Response:
    """A page of batches."""
    return await _batch(call, "GET", f"{PATH}?{cursors(call)}")


async def get_batch(call: Call, batch_id: str) -> Response:
    """One batch; the gateway remembers it when Anthropic does not."""
    answer = await relay.send_envelope(call, "GET", item(batch_id))
    answer = await batch_or_kept(call, batch_id, answer)
    return await relay.envelope_whole(call, answer, with_own_results_url)


async def delete_batch(call: Call, batch_id: str) -> Response:
    """Remove a batch that has ended, and what is kept of it; what it cost is booked first."""
    await call.services.batch_costs.settle(batch_id)
    answer = await relay.send_envelope(call, "DELETE", item(batch_id))
    return await relay.envelope_whole(call, await deleted_with_kept(call, batch_id, answer))


async def cancel_batch(call: Call, batch_id: str) -> Response:
    """Stop a batch; what is done stays done."""
    return await _batch(call, "POST", f"{item(batch_id)}/cancel")


async def get_batch_results(call: Call, batch_id: str) -> StreamResponse:
    """The results: a list, or Anthropic's own lines for a caller that asks; passed on as they come.
    Kept ones where Anthropic has none any more.

    Raises:
        Conflict: the batch has not ended. Upstream says of it that it has no results, as of one it never had.
    """
    answer = await relay.send_envelope(call, "GET", f"{item(batch_id)}/results", streamed=True)
    answer = await results_or_kept(call, batch_id, answer)
    try:
        await relay.refuse_errors(answer)
    except UpstreamError as refusal:
        if refusal.status == 404:
            await _refuse_unended(call, batch_id)
        raise
    lines = call.services.batch_costs.read_along(batch_id, relay.pieces(call, answer))
    if prefers(call.header(b"accept") or b"*/*", JSON_LINES, to="application/json"):
        return ChunkResponse(call, 200, [(b"content-type", JSON_LINES.encode())], lines)
    return ChunkResponse(call, 200, [JSON_TYPE], as_envelope_list(call, lines))


async def _refuse_unended(call: Call, batch_id: str) -> None:
    batch = (await get_batch(call, batch_id)).data
    status = batch.get("processing_status") if isinstance(batch, dict) else None
    if isinstance(status, str) and status != "ended":
        raise Conflict(f"the batch has not ended (processing_status is {status}), so it has no results yet")


async def _batch(call: Call, method: str, target: str, body: bytes | None = None) -> Response:
    answer = await relay.send_envelope(call, method, target, body)
    return await relay.envelope_whole(call, answer, with_own_results_url)
