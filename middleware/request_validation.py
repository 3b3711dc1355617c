"""Read and judge what a caller sends: Connexion's request validation with everything compiled at start.

On the envelope the spec judges and every violation is a 400. On the native dialect upstream judges: a
violation is counted and logged by its place, and the bytes go on, unless NATIVE_VALIDATION=enforce.
"""

import logging
from typing import Any

from connexion.middleware.request_validation import RequestValidationMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.body import BodyReader, media_type
from gateway.call import Call
from gateway.catalog import Operation
from gateway.errors import BadRequest, NotAcceptable, UnsupportedMedia
from gateway.json_body import parse
from gateway.keys import check_models, check_names
from gateway.large_bodies import LARGE
from gateway.large_bodies.reading import Question
from gateway.negotiation import accepts
from gateway.parameters import Parameters
from gateway.services import Services
from middleware.operations import OperationAPI, OperationMiddleware

logger = logging.getLogger("gateway.contract")

JSON = "application/json"
PLAIN_JSON = JSON.encode()
READ_FIELDS: dict[str, tuple[type, str]] = {
    "model": (str, "a string"),
    "max_tokens": (int, "an integer"),
    "stream": (bool, "a boolean"),
}
"""Members that the gateway itself goes by: a wrong type in one is refused in both dialects."""


class _RequestValidation:
    """One operation behind its checks."""

    def __init__(self, next_app: ASGIApp, operation: Operation, services: Services) -> None:
        self.next_app = next_app
        self.operation = operation
        self.services = services
        self.owned = operation.dialect == "envelope" or operation.tag == "system"
        self.enforce = self.owned or services.settings.native_validation == "enforce"
        schemas = services.schemas[operation.dialect]
        # Pages and probes take any query: Swagger UI keeps its state there, monitors pass caches with one.
        closed = self.owned and operation.tag != "system"
        self.parameters = Parameters(operation.parameters, schemas, closed=closed)
        # Each may answer with a JSON error; clients made by openapi-generator then ask for nothing else.
        self.answers = (*operation.response_types, JSON) if operation.response_types else ()
        self.body = BodyReader(operation)
        self.multipart = "multipart/form-data" in operation.request_types
        self.required = bool(services.request_body(operation).get("required"))
        schema = services.request_body(operation).get("content", {}).get(JSON, {}).get("schema")
        self.validator = None if schema is None else schemas.validator(schema)
        self.question = Question(operation.dialect, schema, self.enforce, operation.id)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call: Call = scope["call"]
        if self.owned:
            call.parameters = self.check_owned(call, scope["query_string"])
        elif scope["query_string"] or self.parameters.required:
            self.check_native_query(call, scope["query_string"])
        kind = call.head.media_type
        if kind is None:
            kind = call.head.media_type = self.check_content_type(call)
        if self.multipart and kind.startswith(b"multipart/"):
            self.body.check_length(call)
            call.uploading = True
        else:
            call.body = await self.body.read(call)
            call.watch()
            if self.operation.request_types and not self.multipart:
                if len(call.body) > LARGE:
                    await self.check_large_json(call)
                else:
                    self.check_json(call)
        await self.next_app(scope, receive, send)

    def check_owned(self, call: Call, query: bytes) -> dict[str, Any]:
        """The parameters of path and query, once these and `Accept` are known to be right."""
        parameters = call.head.parameters
        if parameters is None:
            self.check_accept(call)
            self.parameters.check_path(call.parameters)
            parameters = call.head.parameters = {**call.parameters, **self.parameters.query(query)}
        return parameters

    def check_accept(self, call: Call) -> None:
        """Raise NotAcceptable unless the caller takes one of the types that the operation answers with."""
        accept = call.header(b"accept")
        if accept and not accepts(accept, self.answers):
            raise NotAcceptable(f"this operation answers with {' or '.join(self.operation.response_types)}")

    def check_native_query(self, call: Call, raw: bytes) -> None:
        """Judge a query that goes on as it came."""
        try:
            self.parameters.query(raw)
        except BadRequest as fault:
            self.violated(call, fault.message)

    def check_content_type(self, call: Call) -> bytes:
        """The body's media type, once it is known to be one that the operation takes.

        Raises:
            UnsupportedMedia: another type, charset or encoding.
        """
        given = call.header(b"content-type") or b""
        if (call.header(b"content-encoding") or b"identity") != b"identity":
            raise UnsupportedMedia("compressed bodies are not taken: send it without Content-Encoding")
        expected = self.operation.request_types
        if given == PLAIN_JSON and JSON in expected:
            return given
        kind, charset = media_type(given)
        if not expected or (not kind and not self.multipart):
            return kind
        if not any(kind == name.encode() or (name == JSON and kind.endswith(b"+json")) for name in expected):
            raise UnsupportedMedia(f"content type must be {' or '.join(expected)}")
        if JSON in expected and charset not in (b"", b"utf-8", b"utf8"):
            raise UnsupportedMedia("JSON is sent as UTF-8")
        return kind

    def check_json(self, call: Call) -> None:
        """Parse and judge a JSON body.

        Raises:
            BadRequest: it is no JSON, or breaks the schema, where the spec judges.
            PermissionDenied: it names a model that the key may not use.
        """
        if not call.body:
            if self.required:
                raise BadRequest("the body must not be empty")
            return
        call.payload = payload = parse(call.body)
        if self.validator is not None and not self.validator.is_valid(payload):
            self.violated(call, str(self.validator.error(payload)))
        if self.operation.metered:
            self.check_read_fields(payload)
        if call.key is not None:
            check_models(call.key, payload)

    async def check_large_json(self, call: Call) -> None:
        """The same for a body that would hold up all others here.

        Raises:
            BadRequest, PermissionDenied: as `check_json`.
            ServiceUnavailable: it could not be read.
        """
        call.reading = reading = await self.services.large_bodies.read(self.question, call.body)
        call.payload = reading.payload
        if reading.violation is not None:
            self.violated(call, reading.violation)
        if self.operation.metered:
            self.check_read_fields(call.payload)
        if call.key is not None:
            check_names(call.key, reading.models)

    def violated(self, call: Call, violation: str) -> None:
        """Refuse a violation where the spec judges; else count it and let it pass."""
        if self.enforce:
            raise BadRequest(violation)
        self.services.metrics.violated(self.operation.id, "request")
        logger.warning(
            "Request breaks the contract",
            extra={
                "operation": self.operation.id,
                "violation": violation,
                "request_id": call.request_id,
            },
        )

    def check_read_fields(self, payload: Any) -> None:
        """Refuse a wrong type in a member that limits and prices go by."""
        if not isinstance(payload, dict):
            raise BadRequest("the body must be a JSON object")
        for name, (kind, said) in READ_FIELDS.items():
            value = payload.get(name)
            if value is not None and (
                not isinstance(value, kind) or (kind is int and isinstance(value, bool))
            ):
                raise BadRequest(f"/{name}: must be {said}")


class _API(OperationAPI):
    def make(self, operation: Operation, next_app: ASGIApp) -> ASGIApp:
        return _RequestValidation(next_app, operation, self.services)


class RequestValidation(OperationMiddleware, RequestValidationMiddleware):
    """Reads the body once, judges it, and leaves `body` and `payload` in the `Call`."""

    api_cls = _API
