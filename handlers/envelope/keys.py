"""The apps' keys: the gateway's own resource, for `gateway:admin` alone; a key may look at itself."""

from typing import Any

from gateway.call import Call
from gateway.keys import Key, page
from gateway.responses import Response, answer

PATH = "/api/v1/keys"


async def create_key(call: Call) -> Response:
    """A new key, with its secret."""
    key, secret = await call.services.keys.create(call.payload)
    call.audit_target = key.id
    location = (b"location", f"{PATH}/{key.id}".encode())
    return answer(call, _issued(key, secret), status=201, headers=[location])


async def list_keys(
    call: Call, *, limit: int, after_id: str | None, before_id: str | None, include_revoked: bool
) -> Response:
    """A page of keys."""
    keys = call.services.keys
    found, more = page(
        keys.all(revoked=include_revoked),
        limit,
        None if after_id is None else keys.get(after_id),
        None if before_id is None else keys.get(before_id),
    )
    return answer(
        call,
        {
            "data": [key.describe() for key in found],
            "has_more": more,
            "first_id": found[0].id if found else None,
            "last_id": found[-1].id if found else None,
        },
    )


async def get_key(call: Call, key_id: str) -> Response:
    """One key that is not revoked."""
    return answer(call, call.services.keys.living(key_id).describe())


async def get_own_key(call: Call) -> Response:
    """The key that asks."""
    assert call.key is not None
    return answer(call, call.key.describe())


async def update_key(call: Call, key_id: str) -> Response:
    """A key with other rights, limits, or name."""
    key = await call.services.keys.update(key_id, call.payload)
    return answer(call, key.describe())


async def rotate_key(call: Call, key_id: str) -> Response:
    """A key with a new secret; the old one works on for the overlap."""
    overlap = (call.payload or {}).get("overlap_seconds", 0)
    key, secret = await call.services.keys.rotate(key_id, overlap)
    return answer(call, _issued(key, secret))


async def revoke_key(call: Call, key_id: str) -> Response:
    """The end of a key."""
    key = await call.services.keys.revoke(key_id)
    return answer(call, key.describe())


def _issued(key: Key, secret: str) -> dict[str, Any]:
    return {**key.describe(), "key": secret}
