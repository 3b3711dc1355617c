"""One run: the message goes up as if its caller waited for it, with the same limits, budget and booking."""

import asyncio
import json
import logging
from typing import TYPE_CHECKING

from starlette.types import Message

from gateway import relay
from gateway.async_messages.record import AsyncMessage, Ending
from gateway.call import Call
from gateway.errors import GatewayError, InternalError, PermissionDenied, RateLimited, error_class
from gateway.json_body import parse
from gateway.keys import Key, check_models, check_names
from gateway.large_bodies import LARGE, upstream_body
from gateway.large_bodies.reading import Question
from gateway.limits import Admission

if TYPE_CHECKING:
    from gateway.services import Services

log = logging.getLogger(__name__)

SCOPE = "messages"
PATH = b"/api/v1/messages/async"
OPERATION = "create_message"
"""What a run is in ledger, metrics and log; its request id is the message's own id."""


def call_for(services: "Services", message: AsyncMessage, key: Key, admission: Admission | None) -> Call:
    """The call of a run, as if its caller had sent it; to be made in the task that runs it."""
    scope = {
        "type": "http",
        "method": "POST",
        "raw_path": PATH,
        "query_string": b"",
        "headers": [(b"x-request-id", message.id.encode()), *message.headers],
        "client": None,
    }
    call = Call(services, scope, _nobody)
    if services.tracing is not None:
        call.trace = services.tracing.begin(call)
    call.operation = services.catalog[OPERATION]
    call.key = key
    call.admission = admission
    if admission is not None:
        admission.waited = None  # in line it did not wait for a place of its call's time
    return call


async def run(call: Call, body: bytes) -> Ending:
    """Ask Anthropic, and say how that ended. However it does, the call is not closed yet.

    Args:
        call: made by `call_for`, in the running task, which `Call.stop` may cancel.
        body: the request's bytes, as they were accepted.

    Raises:
        RateLimited: a limit or budget of the key has no room now; nothing went up.
    """
    try:
        answer = await _ask(call, body)
    except asyncio.CancelledError:
        if not (call.disconnected or call.stopped) or call.task is None:
            raise
        call.task.uncancel()
        call.status = 499 if call.disconnected else 503
        return Ending("canceled" if call.disconnected else "interrupted")
    except RateLimited:
        raise
    except GatewayError as error:
        call.services.refused(call, error)
        return _failed(call, error)
    except Exception as error:
        log.exception("An asynchronous message failed", extra={"request_id": call.request_id})
        return _failed(call, InternalError(f"internal error ({type(error).__name__}); the log has its cause"))
    finally:
        if call.answer is not None:
            call.answer.close()
    call.status = 200
    return Ending("succeeded", 200, answer)


async def _ask(call: Call, body: bytes) -> bytes:
    assert call.key is not None
    if not call.key.may(SCOPE):  # its rights may be others by now
        raise PermissionDenied(f"this key lacks the scope {SCOPE}")
    call.body = body
    if len(body) > LARGE:
        question = Question("envelope", None, enforce=False, operation=OPERATION)
        call.reading = await call.services.large_bodies.read(question, body)
        call.payload = call.reading.payload
        check_names(call.key, call.reading.models)
    else:
        call.payload = parse(body)
        check_models(call.key, call.payload)
    call.model = call.payload["model"]
    answer = await relay.send_envelope(call, "POST", "/v1/messages", upstream_body(call))
    whole, _ = await relay.whole_json(call, answer)
    return whole


def failure(error: GatewayError) -> Ending:
    """The end of a message that Anthropic was not asked for, or refused."""
    told = {"status": error.status, "error_type": error_class(error.status), "message": error.message}
    return Ending("failed", error.status, json.dumps(told, ensure_ascii=False).encode())


def _failed(call: Call, error: GatewayError) -> Ending:
    call.status = error.status
    return failure(error)


async def _nobody() -> Message:
    """ASGI's `receive` of a caller who is not there: nothing comes, and nobody hangs up."""
    await asyncio.Event().wait()
    raise AssertionError


def cancel(call: Call) -> None:
    """End a run whose message was canceled; upstream is let go of at once."""
    call.disconnected = True
    if call.task is not None:
        call.task.cancel()
