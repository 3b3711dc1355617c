"""Refusals, in the shape of Anthropic's errors (https://docs.anthropic.com/en/api/errors)."""

from typing import Any

Headers = list[tuple[bytes, bytes]]

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class ApiError(Exception):
    """An answer that is an error: its status, its message, and details where Anthropic names a code."""

    def __init__(
        self, status: int, message: str, *, headers: Headers | None = None, error_code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or []
        self.error_code = error_code

    def body(self, request_id: str) -> dict[str, Any]:
        """The JSON body, which is also what a stream's `error` event carries."""
        error: dict[str, Any] = {"type": ERROR_TYPES[self.status], "message": self.message}
        if self.error_code is not None:
            error["details"] = {"error_code": self.error_code}
        return {"type": "error", "error": error, "request_id": request_id}


def invalid(message: str) -> ApiError:
    """A 400: the request is at fault."""
    return ApiError(400, message)


def not_found(message: str) -> ApiError:
    """A 404: nothing has that id, or that path."""
    return ApiError(404, message)
