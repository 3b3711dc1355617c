"""The one handler of operations that say `forward: true`, and of paths that the spec lacks (admins only)."""

from gateway import relay
from gateway.call import Call
from gateway.responses import StreamResponse
from gateway.uploads import Upload


async def forward(call: Call) -> StreamResponse:
    """Pass the request on as it came, and the answer back as it comes; neither is held whole."""
    assert call.operation is not None
    if call.operation is call.services.unlisted:
        call.services.metrics.unlisted()
    body = Upload(call) if call.uploading else call.body or None
    answer = await relay.send_native(call, body, streamed=call.operation.stream is not None)
    return relay.raw_stream(call, answer)
