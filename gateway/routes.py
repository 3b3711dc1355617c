"""Find the operation of a request by its raw path, segment by segment.

Matching is done on the path as it was sent: an encoded slash (`%2F`) inside an id stays inside its segment,
so that the same bytes can travel on to upstream.
"""

import re
from collections.abc import Iterable
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from gateway.errors import BadRequest

T = TypeVar("T")


class _Node(Generic[T]):
    __slots__ = ("children", "methods", "names", "wildcard")

    def __init__(self) -> None:
        self.children: dict[bytes, _Node[T]] = {}
        self.wildcard: _Node[T] | None = None
        self.methods: dict[str, T] = {}
        self.names: dict[str, tuple[str, ...]] = {}


class Routes(Generic[T]):
    """A tree of path segments. A literal segment wins over a parameter in the same place."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._static: dict[bytes, dict[str, T]] = {}

    def add(self, method: str, path: str, target: T) -> None:
        """Register `target` for a method and a path template such as `/v1/models/{model_id}`."""
        node, names = self._root, []
        for segment in path.strip("/").split("/"):
            if segment.startswith("{"):
                names.append(segment[1:-1])
                if node.wildcard is None:
                    node.wildcard = _Node()
                node = node.wildcard
            else:
                node = node.children.setdefault(segment.encode(), _Node())
        node.methods[method] = target
        node.names[method] = tuple(names)
        if not names:
            self._static[path.encode()] = node.methods

    def find(self, path: bytes) -> tuple[dict[str, T], tuple[bytes, ...], dict[str, tuple[str, ...]]] | None:
        """The methods of a raw path, the raw values of its parameters, and each method's parameter names.

        Returns None where no operation has this path.
        """
        methods = self._static.get(path)
        if methods is not None:
            return methods, (), {}
        found = self._match(self._root, path.split(b"/")[1:], 0, ())
        return None if found is None else (found[0].methods, found[1], found[0].names)

    def _match(
        self, node: _Node[T], segments: list[bytes], depth: int, values: tuple[bytes, ...]
    ) -> tuple[_Node[T], tuple[bytes, ...]] | None:
        if depth == len(segments):
            return (node, values) if node.methods else None
        segment = segments[depth]
        child = node.children.get(segment)
        if child is None and b"%" in segment:
            child = node.children.get(unquote_to_bytes(segment))
        if child is not None:
            found = self._match(child, segments, depth + 1, values)
            if found is not None:
                return found
        if node.wildcard is not None and segment:
            return self._match(node.wildcard, segments, depth + 1, (*values, segment))
        return None


def path_parameters(names: Iterable[str], values: Iterable[bytes]) -> dict[str, str]:
    """Path parameters by name, percent-decoded.

    Raises:
        BadRequest: a value is not UTF-8.
    """
    parameters = {}
    for name, value in zip(names, values, strict=True):
        try:
            parameters[name] = (unquote_to_bytes(value) if b"%" in value else value).decode()
        except UnicodeDecodeError:
            raise BadRequest(f"path parameter {name}: not UTF-8") from None
    return parameters


def check_target(path: bytes) -> None:
    """Refuse a request path that may mean something else to the next server.

    Upstream's client resolves `..`: `/v1/files/../organizations/x` would leave the scope that was checked.

    Raises:
        BadRequest: the path does not start with one `/`, has an empty segment, or has a segment that decodes
            to `.` or `..` (also beside an encoded slash, or before a `;`), or to one with a backslash or a
            control character.
    """
    if not path.startswith(b"/"):
        raise BadRequest("the path must start with /")
    if _SUSPECT.search(path) and path != b"/" and any(map(_is_tricky, path.split(b"/")[1:])):
        raise BadRequest("the path has a slash too many, or a relative or unprintable segment")


_SUSPECT = re.compile(rb"//|/\.|/$|%|[\x00-\x20\x7f\\]")
_UNPRINTABLE = re.compile(rb"[\x00-\x1f\x7f\\]")


def _is_tricky(segment: bytes) -> bool:
    decoded = unquote_to_bytes(segment)
    # An encoded slash stays inside its segment here; a server further on may decode it, then resolve `..`.
    # Some drop what follows a `;` first, a segment's parameter (RFC 3986 §3.3).
    relative = any(part.partition(b";")[0] in (b".", b"..") for part in decoded.split(b"/"))
    return not decoded or relative or _UNPRINTABLE.search(decoded) is not None
