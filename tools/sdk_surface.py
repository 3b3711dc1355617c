"""The operations of the installed `anthropic` package, read from its source.

The contract promises a path item for everything the SDK can call. This module is how the promise is checked:
`operations()` lists what the SDK calls, and

    python -m tools.sdk_surface            # path items that a newer SDK needs and the spec lacks, ready to paste
    python -m tools.sdk_surface --all      # one line for each operation of the installed SDK

Nothing is called: each resource method holds one `self._get(...)`, `self._post(...)`, … call whose arguments name
the path, the query, the body and how the answer is read.
"""

import argparse
import ast
import inspect
import json
import sys
import textwrap
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import anthropic
import yaml
from anthropic._compat import cached_property
from anthropic._resource import SyncAPIResource

SPEC = Path(__file__).parent.parent / "openapi" / "dist" / "native.json"
BASE_PATH = "/v1"
VERBS = {
    "_get": "GET",
    "_get_api_list": "GET",
    "_post": "POST",
    "_put": "PUT",
    "_patch": "PATCH",
    "_delete": "DELETE",
}
WRAPPERS = ("with_raw_response", "with_streaming_response")


class Kind(StrEnum):
    """How the answer is read."""

    JSON = "json"
    SSE = "sse"
    JSONL = "jsonl"
    BINARY = "binary"


@dataclass(frozen=True)
class Argument:
    """One query parameter, header or body field: its name on the wire and the SDK's type for it."""

    name: str
    required: bool
    annotation: Any

    @property
    def is_array(self) -> bool:
        """Whether the SDK sends a list (in a query: `name[]`, once for each member)."""
        return _is_array(self.annotation)


@dataclass(frozen=True)
class SdkMethod:
    """One resource method and the request that it sends."""

    name: str
    method: str
    path: str
    kind: Kind
    may_stream: bool
    multipart: bool
    paginated: bool
    helper: bool
    query: tuple[Argument, ...]
    headers: tuple[Argument, ...]
    body: tuple[Argument, ...]
    returns: Any
    title: str

    @property
    def is_beta(self) -> bool:
        return self.name.startswith("beta.")


@dataclass(frozen=True)
class SdkOperation:
    """One method and path, with every SDK method that reaches it (GA names first)."""

    method: str
    path: str
    methods: tuple[SdkMethod, ...]
    helpers: tuple[SdkMethod, ...] = field(default=())

    @property
    def primary(self) -> SdkMethod:
        return self.methods[0]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(method.name for method in self.methods)

    @property
    def operation_id(self) -> str:
        return self.primary.name.replace(".", "_")

    @property
    def kind(self) -> Kind:
        return self.primary.kind

    @property
    def may_stream(self) -> bool:
        return any(method.may_stream for method in self.methods)

    @property
    def multipart(self) -> bool:
        return any(method.multipart for method in self.methods)

    def arguments(self, place: str) -> tuple[Argument, ...]:
        """Return the arguments in `place` ("query", "headers" or "body") of all its methods, each name once."""
        merged: dict[str, Argument] = {}
        for method in self.methods:
            for argument in getattr(method, place):
                merged.setdefault(argument.name, argument)
        return tuple(merged.values())


def operations() -> list[SdkOperation]:
    """Return every distinct method and path of the installed SDK, sorted by path and method."""
    found: dict[tuple[str, str], list[SdkMethod]] = {}
    for method in methods():
        found.setdefault((method.path, method.method), []).append(method)
    return [
        SdkOperation(
            method=verb,
            path=path,
            methods=tuple(sorted((m for m in group if not m.helper), key=lambda m: (m.is_beta, m.name))),
            helpers=tuple(m for m in group if m.helper),
        )
        for (path, verb), group in sorted(found.items())
    ]


def methods() -> Iterator[SdkMethod]:
    """Yield every SDK method that sends a request, in the order of the resource tree."""
    client = anthropic.Anthropic(api_key="not-used")
    yield from _walk(client, prefix="")


def _walk(owner: object, prefix: str) -> Iterator[SdkMethod]:
    for name, attribute in vars(type(owner)).items():
        if isinstance(attribute, cached_property) and name not in WRAPPERS:
            resource = getattr(owner, name)
            if isinstance(resource, SyncAPIResource):
                yield from _walk(resource, f"{prefix}{name}.")
        elif (
            isinstance(owner, SyncAPIResource) and inspect.isfunction(attribute) and not name.startswith("_")
        ):
            method = _read(attribute, f"{prefix}{name}")
            if method:
                yield method


def _read(function: types.FunctionType, name: str) -> SdkMethod | None:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    request = _request_call(tree)
    if request is None:
        return None
    call, verb, wrapped = request
    keywords = _keywords(call)
    options = _keywords(keywords["options"])
    # The route of the span is the path as the API documents it; the call itself may hold a URL from an answer.
    path = (
        ast.literal_eval(options["span_route"]) if "span_route" in options else ast.literal_eval(call.args[0])
    )
    hints = typing.get_type_hints(function)
    signature = inspect.signature(function)
    body = keywords.get("body")
    if isinstance(body, ast.Name):
        body = _assigned(tree, body.id)
    headers = _header_names(tree)

    def argument(wire: str, value: ast.expr) -> Argument:
        names = [
            node.id
            for node in ast.walk(value)
            if isinstance(node, ast.Name) and node.id in signature.parameters
        ]
        source = names[0] if names else ""
        annotation = hints.get(source, str)
        required = bool(source) and signature.parameters[source].default is inspect.Parameter.empty
        return Argument(wire, required, annotation)

    query = []
    for wire, value in _dict_items(options.get("query")):
        entry = argument(wire, value)
        query.append(Argument(f"{wire}[]", entry.required, entry.annotation) if entry.is_array else entry)
    return SdkMethod(
        name=name,
        method=VERBS[verb],
        path=path.removesuffix("?beta=true"),
        kind=_kind(keywords),
        may_stream=ast.unparse(keywords.get("stream", ast.Constant(False))) != "False",
        multipart="files" in keywords,
        paginated=verb == "_get_api_list",
        helper=wrapped or "post_parser" in options,
        query=tuple(query),
        headers=tuple(argument(wire, value) for wire, value in headers),
        body=tuple(argument(wire, value) for wire, value in _dict_items(body)),
        returns=hints.get("return"),
        title=(inspect.getdoc(function) or name).strip().splitlines()[0],
    )


def _request_call(tree: ast.AST) -> tuple[ast.Call, str, bool] | None:
    """Find the call that sends: `self._post(...)`, or `partial(self._post, ...)` of a convenience method."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for target, wrapped in [(node.func, False), *((arg, True) for arg in node.args[:1])]:
                if (
                    isinstance(target, ast.Attribute)
                    and target.attr in VERBS
                    and ast.unparse(target.value) == "self"
                ):
                    return node, target.attr, wrapped
    return None


def _kind(keywords: dict[str, ast.expr]) -> Kind:
    cast_to = ast.unparse(keywords.get("cast_to", ast.Constant("")))
    if "JSONLDecoder" in cast_to:
        return Kind.JSONL
    if "BinaryAPIResponse" in cast_to:
        return Kind.BINARY
    # `stream=True` answers events always; `stream=stream or False` answers JSON unless asked, see `may_stream`.
    if "stream_cls" in keywords and ast.unparse(keywords["stream"]) == "True":
        return Kind.SSE
    return Kind.JSON


def _keywords(call: ast.expr) -> dict[str, ast.expr]:
    assert isinstance(call, ast.Call), ast.unparse(call)
    return {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}


def _dict_items(node: ast.expr | None) -> Iterator[tuple[str, ast.expr]]:
    """Yield the constant keys of the first dict literal in `node` (it may be wrapped in a transform call)."""
    literal = next((n for n in ast.walk(node) if isinstance(n, ast.Dict)), None) if node is not None else None
    if literal is not None:
        for key, value in zip(literal.keys, literal.values, strict=True):
            if isinstance(key, ast.Constant):
                yield str(key.value), value


def _assigned(tree: ast.AST, name: str) -> ast.expr | None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == name for t in node.targets
        ):
            return node.value
    return None


def _header_names(tree: ast.AST) -> list[tuple[str, ast.expr]]:
    """Return the `anthropic-*` headers that the method sets, each once."""
    found: dict[str, ast.expr] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and str(key.value).lower().startswith("anthropic-"):
                    found.setdefault(str(key.value).lower(), value)
    return list(found.items())


def _is_array(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_is_array(member) for member in typing.get_args(annotation))
    return origin in (list, Sequence)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--all", action="store_true", help="list every operation of the installed SDK")
    arguments = parser.parse_args()
    if arguments.all:
        for operation in operations():
            print(f"{operation.method:6} {operation.path}  {operation.kind}  {', '.join(operation.names)}")
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
