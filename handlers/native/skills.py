"""Skills and their versions as Anthropic has them."""

from gateway import relay
from gateway.call import Call
from gateway.responses import Response, StreamResponse
from gateway.uploads import Upload


async def skills_create(call: Call) -> Response:
    """Store a skill with its first version."""
    return await relay.native_whole(call, await relay.send_native(call, Upload(call)))


async def skills_list(call: Call) -> Response:
    """A page of skills."""
    return await relay.native_whole(call, await relay.send_native(call))


async def skills_retrieve(call: Call) -> Response:
    """One skill."""
    return await relay.native_whole(call, await relay.send_native(call))


async def skills_delete(call: Call) -> Response:
    """Remove a skill that has no versions left."""
    return await relay.native_whole(call, await relay.send_native(call))


async def skills_versions_create(call: Call) -> Response:
    """Store another version of a skill."""
    return await relay.native_whole(call, await relay.send_native(call, Upload(call)))


async def skills_versions_list(call: Call) -> Response:
    """A page of a skill's versions."""
    return await relay.native_whole(call, await relay.send_native(call))


async def skills_versions_retrieve(call: Call) -> Response:
    """One version."""
    return await relay.native_whole(call, await relay.send_native(call))


async def skills_versions_delete(call: Call) -> Response:
    """Remove a version."""
    return await relay.native_whole(call, await relay.send_native(call))


async def beta_skills_versions_download(call: Call) -> StreamResponse:
    """A version's files, as they come."""
    return relay.raw_stream(call, await relay.send_native(call, streamed=True))
