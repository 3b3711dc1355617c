"""Drafts the path item of an SDK operation that the spec lacks; what people read is left to write."""

from collections.abc import Iterator
from typing import Any

from tools.sdk_methods import Kind
from tools.sdk_operations import SdkOperation

BASE_PATH = "/v1"
SHARED = "../../shared"
# Parameters of many operations, as parts of the shared files.
SHARED_QUERY = {"after_id": "AfterId", "before_id": "BeforeId", "limit": "Limit", "page": "Page"}
SHARED_HEADERS = {
    "anthropic-beta": "parameters.yaml#/AnthropicBeta",
    "anthropic-user-profile-id": "native/parameters.yaml#/UserProfileId",
    "anthropic-workspace-id": "native/parameters.yaml#/WorkspaceId",
}
MEDIA_TYPES = {
    Kind.JSON: "application/json",
    Kind.SSE: "text/event-stream",
    Kind.JSONL: "application/x-jsonl",
    Kind.BINARY: "application/octet-stream",
}
ERRORS = {
    "400": "BadRequest",
    "401": "Unauthorized",
    "403": "Forbidden",
    "404": "NotFound",
    "409": "Conflict",
    "413": "ContentTooLarge",
    "415": "UnsupportedMediaType",
    "429": "TooManyRequests",
    "500": "InternalServerError",
    "502": "BadGateway",
    "503": "ServiceUnavailable",
    "504": "GatewayTimeout",
    "529": "Overloaded",
    "default": "UnexpectedError",
}


Document = dict[str, Any]


def draft(operation: SdkOperation) -> Document:
    """Return the operation as it would stand in a path item, without the prose and the example."""
    is_organization = operation.path.startswith(f"{BASE_PATH}/organizations/")
    gateway: Document = {"sdk": list(operation.names), "forward": True}
    if Kind.JSON not in operation.kinds:
        gateway["stream"] = str(*operation.kinds)
    gateway["scope"] = "organization" if is_organization else "agents"
    if is_organization and operation.method != "GET":
        gateway["audit"] = True
    content: Document = {
        "operationId": operation.id,
        "summary": operation.methods[0].title,
        "description": "",
        "tags": [tag(operation)],
        "x-gateway": gateway,
        "parameters": list(_draft_parameters(operation)),
    }
    if request_type := operation.request_type:
        schema = {"type": "object", "required": [one.name for one in operation.body if one.required]}
        content["requestBody"] = {"content": {request_type: {"schema": schema}}}
    headers = {
        name: {"$ref": f"{SHARED}/headers.yaml#/{part}"}
        for name, part in (("X-Request-ID", "XRequestId"), ("request-id", "RequestId"))
    }
    served = {MEDIA_TYPES[kind]: _draft_answer(kind) for kind in sorted(operation.kinds)}
    content["responses"] = {"200": {"description": "", "headers": headers, "content": served}}
    for status in _statuses(operation):
        content["responses"][status] = {"$ref": f"{SHARED}/native/responses.yaml#/{ERRORS[status]}"}
    return content


def _draft_answer(kind: Kind) -> Document:
    answers: dict[Kind, Document] = {
        Kind.JSON: {"schema": {"type": "object"}},
        Kind.SSE: {},
        Kind.JSONL: {"schema": {"type": "string"}},
        Kind.BINARY: {"schema": {"type": "string", "format": "binary"}},
    }
    return answers[kind]


def _draft_parameters(operation: SdkOperation) -> Iterator[Document]:
    for segment in operation.path.split("/"):
        if segment.startswith("{"):
            schema = {"type": "string"}
            yield {"name": segment[1:-1], "in": "path", "required": True, "description": "", "schema": schema}
    for one in operation.query:
        if one.name in SHARED_QUERY:
            yield {"$ref": f"{SHARED}/native/parameters.yaml#/{SHARED_QUERY[one.name]}"}
        else:
            is_array = one.name.endswith("[]")
            item = {"type": "string"}
            parameter: Document = {"name": one.name, "in": "query", "required": one.required}
            yield parameter | {
                "description": "",
                "schema": {"type": "array", "items": item} if is_array else item,
            }
    yield {"$ref": f"{SHARED}/native/parameters.yaml#/Beta"}
    yield {"$ref": f"{SHARED}/parameters.yaml#/AnthropicVersion"}
    for name in operation.headers:
        if name in SHARED_HEADERS:
            yield {"$ref": f"{SHARED}/{SHARED_HEADERS[name]}"}
        else:
            yield {"name": name, "in": "header", "description": "", "schema": {"type": "string"}}


def _statuses(operation: SdkOperation) -> Iterator[str]:
    absent = set()
    if "{" not in operation.path:
        absent.add("404")
    if operation.method == "GET":
        absent.add("409")
    if not operation.body:
        absent |= {"413", "415"}
    return (status for status in ERRORS if status not in absent)


def tag(operation: SdkOperation) -> str:
    """Return the tag, which is the folder of the path item too."""
    first, *rest = operation.path.removeprefix(f"{BASE_PATH}/").split("/")
    return f"{first}_{rest[0]}" if first == "organizations" else first
