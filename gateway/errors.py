"""Every refusal and failure of the gateway, and how each dialect says it.

    GatewayError
    ├── BadRequest              400  invalid_request_error
    │   ├── MethodNotAllowed    405
    │   ├── NotAcceptable       406
    │   └── UnsupportedMedia    415
    ├── AuthenticationFailed    401  authentication_error
    ├── BudgetExhausted         402  billing_error
    ├── PermissionDenied        403  permission_error
    ├── NotFound                404  not_found_error
    │   └── ThreadNotFound           with details.error_code thread_not_found
    ├── RequestTimeout          408  invalid_request_error
    ├── Conflict                409  conflict_error
    ├── ContentTooLarge         413  request_too_large
    ├── UnprocessableEntity     422  invalid_request_error
    ├── RateLimited             429  rate_limit_error
    ├── HeadTooLarge            431  invalid_request_error
    ├── CallerGone              499  (log only)
    ├── InternalError           500  api_error
    ├── UpstreamError           any  what Anthropic answered, told in the envelope
    ├── BadGateway              502  api_error
    ├── ServiceUnavailable      503  api_error
    │   └── Overloaded          503  api_error
    └── GatewayTimeout          504  timeout_error

`error_type` of the envelope is the SDK's exception class for the status; `error.type` of the native dialect
is Anthropic's (https://docs.anthropic.com/en/api/errors). 405, 406 and 415 have no class in the SDK: they are
bad requests.
"""

import json
from collections.abc import Iterable
from typing import Literal

Dialect = Literal["envelope", "native"]
Headers = list[tuple[bytes, bytes]]

ERROR_CLASSES: dict[int, str] = {
    400: "BadRequestError",
    401: "AuthenticationError",
    402: "PaymentRequiredError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    405: "BadRequestError",
    406: "BadRequestError",
    408: "RequestTimeoutError",
    409: "ConflictError",
    412: "PreconditionFailedError",
    413: "ContentTooLargeError",
    415: "BadRequestError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    431: "RequestHeaderFieldsTooLargeError",
    499: "ClientClosedRequestError",
    500: "InternalServerError",
    501: "HTTPNotImplementedError",
    502: "InternalServerError",
    503: "ServiceUnavailableError",
    504: "GatewayTimeoutError",
    529: "OverloadedError",
}
"""The SDK's exception class for each status (anthropic 2.12.0, `anthropic._exceptions`)."""

ERROR_TYPES: dict[int, str] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""Anthropic's `error.type` for each status that has one of its own."""

ERROR_STATUSES: dict[str, int] = {name: status for status, name in ERROR_TYPES.items()} | {
    "invalid_request_error": 400,
    "api_error": 500,
}
"""The status that an `error` event inside a stream stands for."""


def error_class(status: int) -> str:
    """The envelope's `error_type` for an HTTP status."""
    return ERROR_CLASSES.get(status, "InternalServerError" if status >= 500 else "APIError")


def error_type(status: int) -> str:
    """The native dialect's `error.type` for an HTTP status."""
    return ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")


class GatewayError(Exception):
    """Base of all errors that a caller may see. `str()` is the message, written for the caller.

    Args:
        message: one line that names what is wrong and, where there is one, the field.
        headers: response headers to send with it.

    Attributes:
        status: the HTTP status.
        reason: as what the metric of refusals counts it; None for a failure, which refuses nobody.
        error_code: Anthropic's, for programs, where it has one; told in the native dialect.
    """

    status = 500
    reason: str | None = None
    error_code: str | None = None

    def __init__(self, message: str, *, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.headers: Headers = list(headers)

    @property
    def error_class(self) -> str:
        """The envelope's `metadata.error_type`."""
        return error_class(self.status)

    @property
    def error_type(self) -> str:
        """The native dialect's `error.type`."""
        return error_type(self.status)


class BadRequest(GatewayError):
    """The request breaks the contract."""

    status = 400
    reason = "invalid"


class MethodNotAllowed(BadRequest):
    """The path exists, the method does not (RFC 9110 §15.5.6: `Allow` lists those that do)."""

    status = 405

    def __init__(self, method: str, allowed: Iterable[str]) -> None:
        allow = ", ".join(sorted(allowed))
        super().__init__(
            f"method {method} is not allowed here, only {allow}", headers=[(b"allow", allow.encode())]
        )


class NotAcceptable(BadRequest):
    """No representation that the caller accepts (RFC 9110 §15.5.7)."""

    status = 406


class UnsupportedMedia(BadRequest):
    """The body's content type or encoding is not one that the operation takes (RFC 9110 §15.5.16)."""

    status = 415


class AuthenticationFailed(GatewayError):
    """No key, or a wrong one (RFC 9110 §15.5.2: a 401 carries `WWW-Authenticate`)."""

    status = 401
    reason = "auth"

    def __init__(
        self, message: str = "a valid key is required, as x-api-key or as Authorization: Bearer"
    ) -> None:
        super().__init__(message, headers=[(b"www-authenticate", b'Bearer realm="anthropic-gateway"')])


class BudgetExhausted(GatewayError):
    """A budget of the key is used up."""

    status = 402
    reason = "budget"


class PermissionDenied(GatewayError):
    """The key may not do this."""

    status = 403
    reason = "permission"


class NotFound(GatewayError):
    """Nothing there, or nothing that this key may see."""

    status = 404
    reason = "not_found"


class ThreadNotFound(NotFound):
    """No conversation that is held for this key: the SDK then sends the whole of it again."""

    error_code = "thread_not_found"


class RequestTimeout(GatewayError):
    """The caller stood still while it sent its request, or took its answer (RFC 9110 §15.5.9)."""

    status = 408
    reason = "slow"


class Conflict(GatewayError):
    """The resource's state, or a name that is taken, forbids it."""

    status = 409
    reason = "conflict"


class ContentTooLarge(GatewayError):
    """The body is larger than the operation takes."""

    status = 413
    reason = "size"


class UnprocessableEntity(GatewayError):
    """Well formed, but it contradicts what was said before under the same idempotency key."""

    status = 422
    reason = "invalid"


class HeadTooLarge(GatewayError):
    """The head of the request does not end (RFC 6585 §5)."""

    status = 431
    reason = "size"


class RateLimited(GatewayError):
    """A limit of the key is reached.

    Args:
        message: says which limit.
        retry_after: whole seconds to wait (RFC 9110 §10.2.3).
        reason: the limit in the metric's words: rpm, itpm, otpm, concurrency, budget.
    """

    status = 429

    def __init__(self, message: str, *, retry_after: int, reason: str) -> None:
        super().__init__(message, headers=[(b"retry-after", b"%d" % max(1, retry_after))])
        self.retry_after = max(1, retry_after)
        self.reason = reason


class CallerGone(GatewayError):
    """The caller hung up before its body was whole; nobody reads the answer."""

    status = 499


class InternalError(GatewayError):
    """A fault of the gateway itself; the log has the details under the request id."""

    status = 500


class UpstreamError(GatewayError):
    """An error that Anthropic answered, to be told in the envelope.

    Args:
        status: Anthropic's HTTP status.
        message: Anthropic's message.
        headers: those of its headers that the caller may need (`retry-after`, `x-should-retry`).
    """

    def __init__(self, status: int, message: str, *, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(message, headers=headers)
        self.status = status


class BadGateway(GatewayError):
    """Upstream cannot be reached, breaks off, answers garbage, or refuses our own credential."""

    status = 502


class UpstreamLost(BadGateway):
    """The connection broke while an answer was awaited: upstream may have worked on the request."""


class ServiceUnavailable(GatewayError):
    """The gateway is stopping, or has no room; try again.

    Args:
        message: the reason.
        retry_after: whole seconds to wait.
    """

    status = 503
    reason = "unavailable"

    def __init__(self, message: str, *, retry_after: int = 5) -> None:
        super().__init__(message, headers=[(b"retry-after", b"%d" % max(1, retry_after))])


class Overloaded(ServiceUnavailable):
    """As many requests are under way as may be at a time."""

    reason = "overload"


class GatewayTimeout(GatewayError):
    """Upstream did not answer within ANTHROPIC_TIMEOUT."""

    status = 504


def dialect_of(path: bytes) -> Dialect:
    """The dialect of a raw request path: `/v1` speaks Anthropic's, all the rest the envelope's."""
    return "native" if path.startswith(b"/v1/") or path == b"/v1" else "envelope"


def render(error: GatewayError, dialect: Dialect, request_id: str) -> bytes:
    """The JSON body that tells `error` in a dialect."""
    body: dict[str, object]
    if dialect == "native":
        told: dict[str, object] = {"type": error.error_type, "message": error.message}
        if error.error_code is not None:
            told["details"] = {"error_code": error.error_code}
        body = {"type": "error", "error": told, "request_id": request_id}
    else:
        body = {
            "success": False,
            "error": error.message,
            "metadata": {"error_type": error.error_class, "request_id": request_id},
        }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
