"""The models that Anthropic offers."""

from gateway import relay
from gateway.call import Call
from gateway.responses import Response


async def models_list(call: Call) -> Response:
    """A page of models."""
    answer = await relay.send_native(call)
    return call.services.metrics.models.note(await relay.native_whole(call, answer))


async def models_retrieve(call: Call) -> Response:
    """One model."""
    answer = await relay.send_native(call)
    return call.services.metrics.models.note(await relay.native_whole(call, answer))
