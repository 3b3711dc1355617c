"""Rules of the contract about its operations; each yields one line a breach."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tools.contract import Contract, Operation

SCOPES = (
    "messages",
    "batches",
    "models",
    "files",
    "skills",
    "agents",
    "organization",
    "gateway:admin",
    "any",
)
ALLOWED: dict[str, tuple[Any, ...]] = {
    "forward": (True,),
    "stream": ("sse", "jsonl", "binary"),
    "meter": ("tokens",),
    "scope": SCOPES,
    "audit": (True,),
}
# Tags of what the gateway itself offers: no SDK method stands behind these operations.
OWN_TAGS = frozenset({"system", "keys", "usage", "async_messages", "content"})
VERB_NOUN = re.compile(
    r"(cancel|count|create|delete|download|get|list|revoke|rotate|stream|update|upload)(_[a-z0-9]+)+"
)
# What a response under each kind of `stream` is served as.
STREAM_TYPES = {"sse": "text/event-stream", "jsonl": "application/x-jsonl"}
_SDK_METHOD = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")


def operation_ids_are_unique(contract: Contract) -> Iterator[str]:
    """An operationId names function, metric label and tests, so it is unique over both dialects."""
    ids = Counter(operation.content.get("operationId") for operation in contract.operations())
    for operation in contract.operations():
        name = operation.content.get("operationId")
        if name is None:
            yield f"{operation}: has no operationId"
        elif ids[name] > 1:
            yield f"{operation}: operationId {name} is used {ids[name]} times"


def native_operation_ids_follow_the_sdk(contract: Contract) -> Iterator[str]:
    """A native operationId is the SDK's method path with underscores, without `beta` where that exists."""
    for operation in contract.operations():
        methods = operation.gateway.get("sdk", [])
        if operation.dialect == "native" and methods:
            best = [method for method in methods if not method.startswith("beta.")] or methods
            allowed = [method.replace(".", "_") for method in best]
            if operation.content.get("operationId") not in allowed:
                yield f"{operation}: operationId must be {' or '.join(allowed)}"


def envelope_operation_ids_are_verb_noun(contract: Contract) -> Iterator[str]:
    """An envelope operationId is verb_noun, the verb one of a short list."""
    for operation in contract.operations():
        name = operation.content.get("operationId", "")
        if operation.dialect == "envelope" and not VERB_NOUN.fullmatch(name):
            yield f"{operation}: operationId {name!r} must fit {VERB_NOUN.pattern}"


def one_tag_that_is_the_folder(contract: Contract) -> Iterator[str]:
    """Exactly one tag, the name of the folder that the path item stands in and of the handler module."""
    for operation in contract.operations():
        tags = operation.content.get("tags", [])
        folder = operation.file.relative_to(contract.source).parts[1]
        if tags != [folder]:
            yield f"{operation}: tags must be [{folder}], after its folder, not {tags}"


def tags_are_described(contract: Contract) -> Iterator[str]:
    """A document describes exactly the tags that its operations use."""
    for dialect, joined in contract.bundles.items():
        described = {tag["name"] for tag in joined.document.get("tags", ()) if tag.get("description")}
        used = {operation.tag for operation in contract.operations() if operation.dialect == dialect}
        for tag in sorted(described ^ used):
            yield f"{dialect}: tag {tag!r} is {'not used' if tag in described else 'not described'}"


def operations_are_described(contract: Contract) -> Iterator[str]:
    """Each operation has a summary and a description, each parameter a description."""
    for operation in contract.operations():
        for key in ("summary", "description"):
            if not operation.content.get(key, "").strip():
                yield f"{operation}: has no {key}"
        for parameter in contract.parameters(operation):
            if not parameter.get("description", "").strip():
                yield f"{operation}: parameter {parameter['name']} has no description"


def x_gateway_is_known(contract: Contract) -> Iterator[str]:
    """`x-gateway` stands on each operation, alone of its kind, and holds known keys and values only."""
    for operation in contract.operations():
        for key in operation.content:
            if key.startswith("x-") and key != "x-gateway":
                yield f"{operation}: {key} is not ours, x-gateway is the one extension"
        if "x-gateway" not in operation.content:
            yield f"{operation}: has no x-gateway"
        for key, value in operation.gateway.items():
            if key == "sdk":
                if not (
                    isinstance(value, list)
                    and value
                    and all(_SDK_METHOD.fullmatch(str(name)) for name in value)
                ):
                    yield f"{operation}: x-gateway.sdk must be a list of SDK method paths"
            elif key not in ALLOWED:
                yield f"{operation}: x-gateway.{key} is unknown"
            elif value not in ALLOWED[key]:
                yield f"{operation}: x-gateway.{key} must be one of {ALLOWED[key]}, not {value!r}"


def sdk_methods_are_named(contract: Contract) -> Iterator[str]:
    """`x-gateway.sdk` names the SDK methods behind each operation that Anthropic has, and no others."""
    for operation in contract.operations():
        if operation.tag not in OWN_TAGS and "sdk" not in operation.gateway:
            yield f"{operation}: x-gateway.sdk is missing"
        if operation.tag in OWN_TAGS and "sdk" in operation.gateway:
            yield f"{operation}: x-gateway.sdk, but {operation.tag} is the gateway's own"


def streams_are_declared(contract: Contract) -> Iterator[str]:
    """`x-gateway.stream` and the media types of the answer agree."""
    for operation in contract.operations():
        served = {
            media_type
            for status, response in contract.responses(operation).items()
            if status.startswith("2")
            for media_type in response.get("content", ())
        }
        stream = operation.gateway.get("stream")
        for name, media_type in STREAM_TYPES.items():
            if (stream == name) != (media_type in served):
                yield f"{operation}: x-gateway.stream is {stream}, but the answers are {sorted(served)}"


def keys_are_demanded(contract: Contract) -> Iterator[str]:
    """A root takes either key scheme; an operation says `security: []` exactly where it has no scope."""
    for dialect, joined in contract.bundles.items():
        if joined.document.get("security") != [{"ApiKey": []}, {"Bearer": []}]:
            yield f"{dialect}: security must be ApiKey or Bearer"
    for operation in contract.operations():
        security = operation.content.get("security")
        if "scope" in operation.gateway and security is not None:
            yield f"{operation}: has a scope, so security must be left to the root"
        if "scope" not in operation.gateway and security != []:
            yield f"{operation}: has no scope, so it must say security: []"


def errors_are_declared(contract: Contract) -> Iterator[str]:
    """Each operation declares `default` and the errors that can befall it, as types for clients."""
    for operation in contract.operations():
        missing = _possible_errors(operation) - set(operation.content.get("responses", ()))
        if missing:
            yield f"{operation}: responses lack {', '.join(sorted(missing))}"


def _possible_errors(operation: Operation) -> set[str]:
    possible = {"default"}
    if "scope" in operation.gateway:
        possible |= {"401", "403", "429", "500"}
    if "{" in operation.path:
        possible |= {"404"}
    if "requestBody" in operation.content:
        possible |= {"400", "413", "415"}
    if "sdk" in operation.gateway:
        possible |= {"502", "503", "504", "529"}
    return possible


def errors_have_headers(contract: Contract) -> Iterator[str]:
    """Each response names `X-Request-ID`; 429 and 503 also `Retry-After`, and 401 `WWW-Authenticate`."""
    also = {"401": "WWW-Authenticate", "429": "Retry-After", "503": "Retry-After"}
    for operation in contract.operations():
        for status, response in contract.responses(operation).items():
            headers = response.get("headers", {})
            for header in ("X-Request-ID", also.get(status)):
                if header and header not in headers:
                    yield f"{operation}: response {status} lacks the header {header}"


def path_parameters_are_declared(contract: Contract) -> Iterator[str]:
    """The names in braces are exactly the declared path parameters."""
    for operation in contract.operations():
        inside = set(re.findall(r"{([^}]*)}", operation.path))
        declared = {
            parameter["name"] for parameter in contract.parameters(operation) if parameter["in"] == "path"
        }
        for name in sorted(inside ^ declared):
            where = "declared" if name in inside else "in the path"
            yield f"{operation}: path parameter {name} is not {where}"


def envelope_queries_are_bounded(contract: Contract) -> Iterator[str]:
    """The envelope's query parameters are bounded: numbers on both sides, strings by length or form."""
    forms = ("enum", "maxLength", "pattern", "format")
    for operation in contract.operations():
        for parameter in contract.parameters(operation):
            if operation.dialect != "envelope" or parameter["in"] != "query":
                continue
            schema = contract.resolve("envelope", parameter.get("schema", {}))
            bounded = {
                "integer": "minimum" in schema and "maximum" in schema,
                "number": "minimum" in schema and "maximum" in schema,
                "string": any(form in schema for form in forms),
                "array": "maxItems" in schema,
                "boolean": True,
            }
            if not bounded.get(schema.get("type", ""), False):
                yield f"{operation}: query parameter {parameter['name']} has no bounds"


def native_parameters_are_unbounded(contract: Contract) -> Iterator[str]:
    """Native parameters carry no bounds: upstream judges them."""
    bounds = {"minimum", "maximum", "minLength", "maxLength", "pattern", "enum", "minItems", "maxItems"}
    for operation in contract.operations():
        for parameter in contract.parameters(operation):
            found = bounds & set(contract.resolve(operation.dialect, parameter.get("schema", {})))
            if operation.dialect == "native" and found:
                yield f"{operation}: parameter {parameter['name']} is bounded by {', '.join(sorted(found))}"


def links_lead_somewhere(contract: Contract) -> Iterator[str]:
    """A link's operationId is an operation of the same document."""
    ids = {(operation.dialect, operation.content.get("operationId")) for operation in contract.operations()}
    for dialect, pointer, keyword, node in contract.objects():
        if keyword == "links" and "$ref" not in node and (dialect, node.get("operationId")) not in ids:
            yield f"{dialect} {pointer}: there is no operation {node.get('operationId')}"
