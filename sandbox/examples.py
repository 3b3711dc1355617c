"""Every operation without a life of its own here: it answers the example that the spec has for its 200."""

from typing import Any

from sandbox.contract import Contract, Operation
from sandbox.http import Request, Response, dump
from sandbox.multipart import FORM_LIMIT
from sandbox.routing import Handler

_SSE = "text/event-stream"
_BINARY = b"sandbox\n"


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
    example = _example(contract, content[media_type])
    kind = media_type.encode()
    if media_type == _SSE:
        return Response(_events(example), int(status), kind + b"; charset=utf-8")
    if media_type.endswith("json"):
        return Response(dump({} if example is None else example), int(status), kind)
    if media_type.endswith("jsonl"):
        lines = example if isinstance(example, list) else [] if example is None else [example]
        return Response(b"".join(dump(line) + b"\n" for line in lines), int(status), kind)
    return Response(example.encode() if isinstance(example, str) else _BINARY, int(status), kind)


def _events(example: Any) -> list[bytes]:
    """A short stream that ends: the example, if the spec has one, and a ping."""
    events = [] if example is None else example if isinstance(example, list) else [example]
    return [
        b"event: %s\ndata: %s\n\n" % (event["type"].encode(), dump(event))
        for event in [*events, {"type": "ping"}]
    ]


def _example(contract: Contract, media: dict[str, Any]) -> Any:
    """The first named example of a media type, else the one that its schema carries."""
    for example in media.get("examples", {}).values():
        return contract.resolve(example)["value"]
    if "example" in media:
        return media["example"]
    return contract.resolve(media.get("schema", {})).get("example")
