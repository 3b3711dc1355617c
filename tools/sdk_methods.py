"""Reads what the installed `anthropic` package sends, from its source.

Nothing is called: each resource method holds one `self._get(...)`, `self._post(...)`, … whose arguments name
the path, the query, the body and how the answer is read.
"""

import ast
import inspect
import textwrap
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Required

import anthropic
from anthropic._compat import cached_property
from anthropic._resource import SyncAPIResource

_VERBS = {
    "_get": "GET",
    "_get_api_list": "GET",
    "_post": "POST",
    "_put": "PUT",
    "_patch": "PATCH",
    "_delete": "DELETE",
}
_WRAPPERS = ("with_raw_response", "with_streaming_response")


class Kind(StrEnum):
    """How an answer is read."""

    JSON = "json"
    SSE = "sse"
    JSONL = "jsonl"
    BINARY = "binary"


@dataclass(frozen=True, slots=True)
class Argument:
    """A query parameter, header or body field, by its name on the wire and with the SDK's type for it."""

    name: str
    required: bool
    annotation: Any


@dataclass(frozen=True, slots=True)
class SdkMethod:
    """A resource method and the request that it sends.

    `may_stream` says that a JSON answer is one of events when the caller asks for it. A `helper` is a
    convenience on top of another method, such as `messages.parse` on `messages.create`. `title` is what the
    SDK's own documentation calls it.
    """

    name: str
    method: str
    path: str
    kind: Kind
    may_stream: bool
    multipart: bool
    helper: bool
    query: tuple[Argument, ...]
    headers: tuple[Argument, ...]
    body: tuple[Argument, ...]
    returns: Any
    title: str

    @property
    def is_beta(self) -> bool:
        """Whether it is reached through `client.beta`."""
        return self.name.startswith("beta.")


def methods() -> Iterator[SdkMethod]:
    """Yield every method that sends a request, in the order of the resource tree."""
    yield from _walk(anthropic.Anthropic(api_key="not-used"), prefix="")


def _walk(owner: object, prefix: str) -> Iterator[SdkMethod]:
    for name, attribute in vars(type(owner)).items():
        if isinstance(attribute, cached_property) and name not in _WRAPPERS:
            resource = getattr(owner, name)
            if isinstance(resource, SyncAPIResource):
                yield from _walk(resource, f"{prefix}{name}.")
        elif isinstance(owner, SyncAPIResource) and inspect.isfunction(attribute) and name[0] != "_":
            method = _read(attribute, f"{prefix}{name}")
            if method:
                yield method


def _read(function: types.FunctionType, name: str) -> SdkMethod | None:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    request = _request(tree)
    if request is None:
        return None
    call, verb, is_wrapped = request
    keywords = _keywords(call)
    options = _keywords(keywords["options"])
    arguments = _Arguments(function)
    return SdkMethod(
        name=name,
        method=_VERBS[verb],
        # The route of the trace is the documented path; the call may take its URL from an earlier answer.
        path=ast.literal_eval(options["span_route"]),
        kind=_kind(keywords),
        may_stream="stream_cls" in keywords and not isinstance(keywords["stream"], ast.Constant),
        multipart="files" in keywords,
        helper=is_wrapped or "post_parser" in options,
        query=arguments.query(_items(options.get("query"))),
        headers=arguments.named(_headers(tree)),
        body=_body(tree, keywords.get("body"), arguments),
        returns=arguments.types.get("return"),
        title=(inspect.getdoc(function) or name).partition("\n")[0],
    )


class _Arguments:
    """Looks up the function parameters that the values of a request are made of."""

    def __init__(self, function: types.FunctionType) -> None:
        self._parameters = inspect.signature(function).parameters
        self.types = typing.get_type_hints(function)

    def named(self, items: Iterable[tuple[str, ast.expr]]) -> tuple[Argument, ...]:
        return tuple(self._argument(name, value) for name, value in items)

    def query(self, items: Iterable[tuple[str, ast.expr]]) -> tuple[Argument, ...]:
        return tuple(
            Argument(f"{one.name}[]", one.required, one.annotation) if _is_array(one.annotation) else one
            for one in self.named(items)
        )

    def fields(self, name: str) -> tuple[Argument, ...]:
        """Return the fields of a parameter that is the body as a whole: a TypedDict, or a choice of them."""
        forms = [typing.get_type_hints(form, include_extras=True) for form in _members(self.types[name])]
        return tuple(
            Argument(field, all(typing.get_origin(form.get(field)) is Required for form in forms), annotation)
            for field, annotation in {key: one for form in forms for key, one in form.items()}.items()
        )

    def __contains__(self, name: str) -> bool:
        return name in self._parameters

    def _argument(self, name: str, value: ast.expr) -> Argument:
        for node in ast.walk(value):
            if isinstance(node, ast.Name) and node.id in self._parameters:
                required = self._parameters[node.id].default is inspect.Parameter.empty
                return Argument(name, required, self.types[node.id])
        return Argument(name, required=False, annotation=str)


def _body(tree: ast.AST, body: ast.expr | None, arguments: _Arguments) -> tuple[Argument, ...]:
    if isinstance(body, ast.Name):
        if body.id in arguments:
            return arguments.fields(body.id)
        body = _assigned(tree, body.id)
    return arguments.named(_items(body))


def _request(tree: ast.AST) -> tuple[ast.Call, str, bool] | None:
    """Find the call that sends, its verb, and whether it is `partial(self._post, ...)` of a helper."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for target, is_wrapped in ((node.func, False), *((argument, True) for argument in node.args[:1])):
                if (
                    isinstance(target, ast.Attribute)
                    and target.attr in _VERBS
                    and ast.unparse(target.value) == "self"
                ):
                    return node, target.attr, is_wrapped
    return None


def _kind(keywords: dict[str, ast.expr]) -> Kind:
    cast_to = ast.unparse(keywords["cast_to"]) if "cast_to" in keywords else ""
    if "JSONLDecoder" in cast_to:
        return Kind.JSONL
    if "BinaryAPIResponse" in cast_to:
        return Kind.BINARY
    if "stream_cls" in keywords and ast.unparse(keywords["stream"]) == "True":
        return Kind.SSE
    return Kind.JSON


def _keywords(call: ast.expr) -> dict[str, ast.expr]:
    if not isinstance(call, ast.Call):
        raise TypeError(f"not a call: {ast.unparse(call)}")
    return {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}


def _items(node: ast.expr | None) -> Iterator[tuple[str, ast.expr]]:
    """Yield the items of the first dict in `node`, which may stand inside a call that transforms it."""
    for found in ast.walk(node) if node is not None else ():
        if isinstance(found, ast.Dict):
            yield from _constant_keys(found)
            return


def _constant_keys(node: ast.Dict) -> Iterator[tuple[str, ast.expr]]:
    for key, value in zip(node.keys, node.values, strict=True):
        if isinstance(key, ast.Constant):
            yield str(key.value), value


def _assigned(tree: ast.AST, name: str) -> ast.expr | None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and name in {ast.unparse(target) for target in node.targets}:
            return node.value
    return None


def _headers(tree: ast.AST) -> Iterable[tuple[str, ast.expr]]:
    """Return the `anthropic-*` headers that the method sets, each once."""
    found: dict[str, ast.expr] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for name, value in _constant_keys(node):
                if name.lower().startswith("anthropic-"):
                    found.setdefault(name.lower(), value)
    return found.items()


def _is_array(annotation: Any) -> bool:
    """Whether the SDK sends a list; in a query that is `name[]`, once for each member."""
    return any(typing.get_origin(member) in (list, Sequence) for member in _members(annotation))


def _members(annotation: Any) -> list[Any]:
    """Return the members of a union, of unions within it too, or the one type that it is."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [one for member in typing.get_args(annotation) for one in _members(member)]
    return [annotation]
