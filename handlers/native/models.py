"""The models that Anthropic offers."""

from gateway import relay
from gateway.call import Call
from gateway.responses import Response


async def models_list(call: Call) -> Response:
    """A page of models."""
    return await relay.native_whole(call, await relay.send_native(call))


async def models_retrieve(call: Call) -> Response:
    """One model."""
    return await relay.native_whole(call, await relay.send_native(call))
