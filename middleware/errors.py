"""What is raised further in becomes an answer in the path's dialect; nothing of a crash leaves the server."""

import asyncio
import logging

from connexion.exceptions import ProblemException
from connexion.middleware.exceptions import ExceptionMiddleware
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.call import Call
from gateway.errors import BadRequest, GatewayError, InternalError, ServiceUnavailable
from gateway.logs import ResponseBroken
from gateway.responses import error_response

logger = logging.getLogger("gateway.errors")


class Errors(ExceptionMiddleware):
    """Connexion's exception layer with the two renderings of `gateway.errors`."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request; answer, or cut the connection when an answer has begun."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        call: Call = scope["call"]
        try:
            await self.app(scope, receive, send)
        except asyncio.CancelledError:
            if not call.stopped or call.status or call.task is None:
                raise
            call.task.uncancel()
            await self.refuse(call, ServiceUnavailable("the gateway is stopping"), send)
        except Exception as error:
            refusal = as_gateway_error(error, call)
            if call.status:
                call.stream_error = refusal.error_type
                raise ResponseBroken from error
            await self.refuse(call, refusal, send)

    async def refuse(self, call: Call, refusal: GatewayError, send: Send) -> None:
        """Answer with a refusal, and count it."""
        call.services.refused(call, refusal)
        await error_response(call, refusal)(call.scope, call.receive, send)


def as_gateway_error(error: Exception, call: Call) -> GatewayError:
    """Our own errors as they are, the frameworks' by their status, all else as a 500 that tells nothing."""
    match error:
        case GatewayError():
            return error
        case ProblemException(status=int(status), detail=detail) if status < 500:
            return _with_status(BadRequest(str(detail)), status)
        case HTTPException(status_code=status, detail=detail) if status < 500:
            return _with_status(BadRequest(str(detail)), status)
    logger.error("Request failed", exc_info=error, extra={"request_id": call.request_id})
    return InternalError("internal error; the log has its cause under this request id")


def _with_status(error: GatewayError, status: int) -> GatewayError:
    error.status = status
    return error
