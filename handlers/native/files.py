"""Files as Anthropic has them; neither an upload nor a download is ever held whole."""

from gateway import relay
from gateway.call import Call
from gateway.responses import Response, StreamResponse
from gateway.uploads import Upload


async def files_upload(call: Call) -> Response:
    """Store a file."""
    return await relay.native_whole(call, await relay.send_native(call, Upload(call)))


async def files_list(call: Call) -> Response:
    """A page of files."""
    return await relay.native_whole(call, await relay.send_native(call))


async def files_retrieve_metadata(call: Call) -> Response:
    """What is known of a file."""
    return await relay.native_whole(call, await relay.send_native(call))


async def files_delete(call: Call) -> Response:
    """Remove a file."""
    return await relay.native_whole(call, await relay.send_native(call))


async def files_download(call: Call) -> StreamResponse:
    """A file's bytes, as they come."""
    return relay.raw_stream(call, await relay.send_native(call, streamed=True))
