"""A crash is a 500 in the caller's dialect that tells nothing; the log says where it was, not with what."""

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from gateway.errors import dialect_of
from gateway.logs import JsonFormatter, ResponseBroken
from middleware.errors import Errors

SECRET = "secret-9c1d"


class Server:
    """The error layer around an application that fails; keeps what was sent."""

    def __init__(self, error: Exception, path: bytes, *, begun: bool = False) -> None:
        self.error = error
        self.begun = begun
        self.sent: list[Any] = []
        self.refusals: list[int] = []
        self.call = SimpleNamespace(
            dialect=dialect_of(path),
            request_id="req_1",
            status=0,
            stream_error=None,
            stopped=False,
            task=None,
            receive=None,
            services=SimpleNamespace(refused=lambda call, refusal: self.refusals.append(refusal.status)),
        )
        self.scope = {"type": "http", "call": self.call}
        self.call.scope = self.scope

    async def serve(self) -> tuple[int, Any]:
        await Errors(self.app)(self.scope, self.receive, self.send)
        start, body = self.sent
        return start["status"], json.loads(body["body"])

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        if self.begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            self.call.status = 200
        raise self.error

    async def receive(self) -> Any:
        raise AssertionError("nothing is read")

    async def send(self, message: Any) -> None:
        self.sent.append(message)


@pytest.mark.parametrize("error", [RuntimeError(SECRET), KeyError(SECRET), RecursionError(SECRET)])
@pytest.mark.parametrize("path", [b"/v1/messages", b"/api/v1/messages/create", b"/health"])
async def test_crash(error: Exception, path: bytes, caplog: pytest.LogCaptureFixture) -> None:
    server = Server(error, path)
    status, body = await server.serve()

    message = "internal error; the log has its cause under this request id"
    if path.startswith(b"/v1"):
        detail = {"type": "api_error", "message": message}
        expected: dict[str, Any] = {"type": "error", "error": detail, "request_id": "req_1"}
    else:
        metadata = {"error_type": "InternalServerError", "request_id": "req_1"}
        expected = {"success": False, "error": message, "metadata": metadata}
    assert (status, body, server.refusals) == (500, expected, [500])
    (record,) = caplog.records
    line = JsonFormatter().format(record)
    assert json.loads(line)["request_id"] == "req_1"
    assert json.loads(line)["exception"] == type(error).__name__
    assert SECRET not in line
    assert record.levelno == logging.ERROR


async def test_a_crash_in_mid_answer_cuts_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    """The caller must see that what it has is not all."""
    server = Server(RuntimeError(SECRET), b"/v1/messages", begun=True)

    with pytest.raises(ResponseBroken):
        await server.serve()

    assert len(server.sent) == 1
    assert server.call.stream_error == "api_error"
    assert caplog.records


@pytest.mark.parametrize("path", [b"/v1/messages", b"/api/v1/messages/create"])
async def test_refusals_of_the_frameworks(path: bytes) -> None:
    status, body = await Server(HTTPException(418, "tea"), path).serve()

    assert status == 418
    assert "tea" in json.dumps(body)
