"""The models that Anthropic offers, in the envelope."""

from urllib.parse import quote

from gateway import relay
from gateway.call import Call
from gateway.pagination import cursors
from gateway.responses import Response

PATH = "/v1/models"


async def list_models(call: Call) -> Response:
    """A page of models."""
    answer = await relay.send_envelope(call, "GET", f"{PATH}?{cursors(call)}")
    return call.services.metrics.models.note(await relay.envelope_whole(call, answer))


async def get_model(call: Call, model_id: str) -> Response:
    """One model."""
    answer = await relay.send_envelope(call, "GET", f"{PATH}/{quote(model_id, safe='')}")
    return call.services.metrics.models.note(await relay.envelope_whole(call, answer))
