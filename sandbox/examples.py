"""Every operation without a life of its own here: it answers the example that the spec has for its 200."""

from typing import Any

from sandbox.contract import Contract, Operation
from sandbox.http import Request, Response, dump
from sandbox.multipart import FORM_LIMIT
from sandbox.routing import Handler

_SSE = "text/event-stream"
_PING = b'event: ping\ndata: {"type":"ping"}\n\n'
"""A short stream, and one that ends: the spec has no examples of events."""
_BINARY = b"PK\5\6" + bytes(18)
"""An empty zip archive, which also does for any other download."""


def handler_for(contract: Contract, operation: Operation) -> Handler:
    """The handler of an operation: a JSON body must be an object; the answer is fixed."""
    response = _response(contract, operation)

    async def answer(request: Request) -> Response:
        if b"application/json" in request.headers.get(b"content-type", b"") and request.has_body:
            await request.json()
        else:
            async for _ in request.chunks(FORM_LIMIT):
                pass
        return response

    return answer


def _response(contract: Contract, operation: Operation) -> Response:
    status = next(code for code in sorted(operation.spec["responses"]) if code.startswith("2"))
    content: dict[str, Any] = contract.resolve(operation.spec["responses"][status]).get("content", {})
    media_type = next(iter(content), None)
    if media_type is None:
        return Response(b"", int(status))
    kind = media_type.encode()
    if media_type == _SSE:
        return Response([_PING], int(status), kind + b"; charset=utf-8")
    example = _example(contract, content[media_type])
    if media_type.endswith("json"):
        return Response(dump({} if example is None else example), int(status), kind)
    return Response(example.encode() if isinstance(example, str) else _BINARY, int(status), kind)


def _example(contract: Contract, media: dict[str, Any]) -> Any:
    """The first named example of a media type; None when it has none."""
    example = next(iter(media.get("examples", {}).values()), None)
    return None if example is None else contract.resolve(example)["value"]
