"""What is kept of prompts and answers: for a key its own, for `gateway:admin` any key's."""

from gateway import rfc3339
from gateway.call import Call
from gateway.ended_batches import KIND as BATCH_RESULTS
from gateway.errors import NotFound
from gateway.responses import Response, answer


async def get_content(call: Call, *, key_id: str | None) -> Response:
    """How much is kept."""
    return await _told(call, _whose(call, key_id))


async def delete_content(call: Call, *, key_id: str | None) -> Response:
    """Delete it, but for what belongs to messages that have not ended; tells what is left."""
    whose, services = _whose(call, key_id), call.services
    await services.idempotency.forget(whose)
    await services.async_messages.forget(whose)
    await services.content.delete_of(whose, BATCH_RESULTS)
    return await _told(call, whose)


async def _told(call: Call, key_id: str) -> Response:
    kinds = [
        {"kind": kind, "items": items, "bytes": size, "expires_at": rfc3339.write(expires_at)}
        for kind, items, size, expires_at in await call.services.content.kept_for(key_id)
    ]
    return answer(call, {"kinds": kinds})


def _whose(call: Call, key_id: str | None) -> str:
    """The key that is meant.

    Raises:
        NotFound: another's, or none.
    """
    assert call.key is not None
    if key_id is None or key_id == call.key.id:
        return call.key.id
    if not call.key.admin:
        raise NotFound(f"no key {key_id}")
    return call.services.keys.get(key_id).id
