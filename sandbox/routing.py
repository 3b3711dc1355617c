"""A router for fixed paths and for templates whose `{…}` are whole segments."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

from sandbox.errors import ApiError, not_found
from sandbox.http import Request, Response

Handler = Callable[[Request], Awaitable[Response]]

_PARAMETER = ""
"""The key of a node's parameter branch: no path segment of a route is empty."""
_METHODS = "/"
"""The key of a node's methods: no segment holds a slash."""


class Router:
    """Finds the handler of a method and a raw path; the more literal route wins."""

    def __init__(self) -> None:
        self._root: dict[str, Any] = {}
        self._fixed: dict[tuple[str, str], Handler] = {}

    def add(self, method: str, template: str, handler: Handler) -> None:
        """Adds a route unless it is there already: what is added first stays."""
        node = self._root
        for segment in template[1:].split("/"):
            node = node.setdefault(_PARAMETER if segment.startswith("{") else segment, {})
        if node.setdefault(_METHODS, {}).setdefault(method, handler) is handler and "{" not in template:
            self._fixed[method, template] = handler

    def match(self, request: Request) -> Handler:
        """The request's handler, its path parameters put into `request.params`, decoded.

        Raises `ApiError` 404 for an unknown path and 405, with `allow`, for an unknown method.
        """
        raw_path = request.scope["raw_path"].decode("latin-1")
        handler = self._fixed.get((request.method, raw_path))
        if handler is not None:
            return handler
        found = _find(self._root, raw_path[1:].split("/"), 0)
        if found is None:
            raise not_found("Not found")
        methods, params = found
        request.params = tuple(unquote(param) for param in reversed(params))
        if request.method not in methods:
            allow = ", ".join(sorted(methods)).encode()
            raise ApiError(405, "Method Not Allowed", headers=[(b"allow", allow)])
        return methods[request.method]


def _find(node: dict[str, Any], segments: list[str], at: int) -> tuple[dict[str, Handler], list[str]] | None:
    """The methods of the node that `segments` lead to, and its parameters, last first."""
    if at == len(segments):
        return (node[_METHODS], []) if _METHODS in node else None
    segment = segments[at]
    if not segment:
        return None
    if segment in node and (found := _find(node[segment], segments, at + 1)):
        return found
    if _PARAMETER in node and (found := _find(node[_PARAMETER], segments, at + 1)):
        found[1].append(segment)
        return found
    return None
