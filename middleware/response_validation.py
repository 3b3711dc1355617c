"""Judge what the gateway answers, then send it: Connexion's response validation with everything compiled at
start.

A paid answer is never thrown away: a violation is counted and logged by its place, and the answer delivered,
unless RESPONSE_VALIDATION=enforce, which is for tests. Streams are passed on unread.
"""

import logging
from typing import Any

import jiter
from connexion.middleware.response_validation import ResponseValidationMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.call import Call
from gateway.catalog import Operation, resolve
from gateway.errors import InternalError
from gateway.headers import header
from gateway.responses import Response
from gateway.services import Services
from middleware.operations import OperationAPI, OperationMiddleware
from openapi.validation import Validator
from openapi.violation import Violation

logger = logging.getLogger("gateway.contract")

JSON = "application/json"
PLAIN_JSON = JSON.encode()


class _ResponseValidation:
    """The answers of one operation. Of an envelope whose `data` is at hand parsed, that alone is judged."""

    def __init__(self, next_app: ASGIApp, operation: Operation, services: Services) -> None:
        self.next_app = next_app
        self.operation = operation
        self.services = services
        self.mode = services.settings.response_validation
        self.whole: dict[str, Validator] = {}
        self.data: dict[str, Validator] = {}
        for status, response in operation.spec["responses"].items():
            self._compile(status, response)

    def _compile(self, status: str, response: dict[str, Any]) -> None:
        bundle, schemas = (
            self.services.bundles[self.operation.dialect],
            self.services.schemas[self.operation.dialect],
        )
        schema = resolve(bundle, response).get("content", {}).get(JSON, {}).get("schema")
        if schema is None:
            return
        self.whole[status] = self.data[status] = schemas.validator(schema)
        members = resolve(bundle, schema).get("properties", {})
        if self.operation.dialect == "envelope" and "data" in members:
            self.data[status] = schemas.validator(members["data"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.next_app(scope, receive, send)
        call: Call = scope["call"]
        if self.mode != "off" and type(call.response) is Response:
            self.check(call, call.response)
        await call.response(scope, receive, send)

    def check(self, call: Call, response: Response) -> None:
        """Judge a whole JSON answer.

        Raises:
            InternalError: it breaks the contract, and the setting is `enforce`.
        """
        status = str(response.status)
        if status not in self.whole:
            status = "default"
        validator = self.whole.get(status) if response.data is None else self.data.get(status)
        if validator is None or not response.body or not _is_json(response):
            return
        violation = _violation(validator, response)
        if violation is None:
            return
        self.services.metrics.violated(self.operation.id, "response")
        logger.warning(
            "Answer breaks the contract",
            extra={
                "operation": self.operation.id,
                "violation": str(violation),
                "request_id": call.request_id,
            },
        )
        if self.mode == "enforce":
            raise InternalError(f"the answer breaks the contract: {violation}")


def _violation(validator: Validator, response: Response) -> Violation | None:
    try:
        value = response.data if response.data is not None else jiter.from_json(response.body)
    except ValueError:
        return Violation("", "is not valid JSON")
    try:
        return None if validator.is_valid(value) else validator.error(value)
    except UnicodeEncodeError:
        return Violation("", "has text that is no Unicode")


def _is_json(response: Response) -> bool:
    return header(response.headers, b"content-type").startswith(PLAIN_JSON)


class _API(OperationAPI):
    def make(self, operation: Operation, next_app: ASGIApp) -> ASGIApp:
        return _ResponseValidation(next_app, operation, self.services)


class ResponseValidation(OperationMiddleware, ResponseValidationMiddleware):
    """Checks each whole JSON answer, and sends the answer."""

    api_cls = _API
