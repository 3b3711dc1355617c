"""What the head of a request says, worked out once for all requests of a connection that repeat it.

The requests that a client sends over one connection differ in their bodies; their heads are the same, byte
for byte, but for the digits of the body's length. `RepeatedHead` knows such a head again without parsing it,
and what was worked out from it for one request stays in its `Head` for the next.
"""

from typing import TYPE_CHECKING, Any, cast

from starlette.types import Scope

from gateway.errors import Dialect, Headers, dialect_of

if TYPE_CHECKING:
    from gateway.catalog import Operation
    from gateway.pool import SentHeaders

MAX_BYTES = 4096
MAX_LINES = 64
"""Of a head that is learnt: it is kept as long as its connection, which anybody may open. An SDK's has a
quarter of that."""

MAX_LENGTH_DIGITS = 9
"""Of a Content-Length that is read here; bodies of a gigabyte are left to the parser."""

_LENGTH = b"content-length"
_NEVER_REPEATED = frozenset({b"expect", b"transfer-encoding", b"upgrade"})


class Head:
    """One head. Beside what it says itself, each part of the pipeline keeps here what follows from it alone:
    nothing that depends on the key, the body or the time.

    Attributes:
        path: the raw path.
        method: the HTTP method.
        dialect: by the path.
        values: the first value of each header but Content-Length, names in lower case.
        sound: whether `middleware.admission` found nothing wrong with it.
        route: its operation, dialect and path parameters; written by routing.
        digest: of the secret that it presents; written by security.
        media_type: of the body, which the operation takes; written by request validation.
        parameters: of path and query, judged; written by request validation, on the envelope.
        sent: what of it goes upstream; written by the relay.
    """

    __slots__ = (
        "dialect", "digest", "media_type", "method", "parameters", "path", "route", "sent", "sound", "values",
    )  # fmt: skip

    def __init__(self, scope: Scope) -> None:
        self.path: bytes = scope["raw_path"]
        self.method: str = scope["method"]
        self.dialect: Dialect = dialect_of(self.path)
        self.values: dict[bytes, bytes] = dict(reversed(scope["headers"]))
        self.values.pop(_LENGTH, None)
        self.sound = False
        self.route: tuple[Operation, Dialect, dict[str, str]] | None = None
        self.digest: bytes | None = None
        self.media_type: bytes | None = None
        self.parameters: dict[str, Any] | None = None
        self.sent: SentHeaders | None = None


class RepeatedHead:
    """The bytes of a head, cut where the length of the body stands.

    Args:
        before: what comes before the digits of the length; the whole head where it names no length.
        after: what comes after them.
        url: the request's target.
        scope: the ASGI scope of the request that it was learnt from.
        position: of Content-Length among the headers.
    """

    __slots__ = ("_after", "_before", "_position", "_scope", "_start", "url")

    def __init__(
        self, before: bytes, after: bytes, url: bytes, scope: dict[str, Any], position: int | None
    ) -> None:
        self._before = before
        self._after = after
        self._start = len(before)
        self._scope = scope
        self._position = position
        self.url = url

    @classmethod
    def learn(cls, data: bytes, url: bytes, scope: dict[str, Any]) -> "RepeatedHead | None":
        """What the parser has just read at the beginning of `data`, or None where it is not to be repeated.

        It is only where each line is seen to say what the parser found in it.

        Args:
            data: one read, which begins with a request.
            url: the request's target.
            scope: what was made of its head.
        """
        end = b"\r\n\r\n"
        size, headers = data.find(end, 0, MAX_BYTES), cast(Headers, scope["headers"])
        if size < 0 or len(headers) > MAX_LINES or "head" not in scope:
            return None
        raw = data[:size]
        first, *lines = raw.split(b"\r\n")
        if len(lines) != len(headers):
            return None
        if first != b"%b %b HTTP/1.1" % (scope["method"].encode(), url):
            return None
        before, after, position, at = raw + end, b"", None, len(first) + 2
        for index, (line, (name, value)) in enumerate(zip(lines, headers, strict=True)):
            given, _, text = line.partition(b":")
            if given.lower() != name or text.strip(b" \t") != value.strip(b" \t") or name in _NEVER_REPEATED:
                return None
            at += len(line)
            if name == _LENGTH:
                if position is not None or not _is_length(value) or not line.endswith(value):
                    return None
                position = index
                before, after = raw[: at - len(value)], raw[at:] + end
            at += 2
        return cls(before, after, url, scope, position)

    def find(self, data: bytes) -> tuple[int, bytes] | None:
        """Where the body begins and the digits of its length; None where `data` begins otherwise."""
        if not data.startswith(self._before):
            return None
        if self._position is None:
            return self._start, b""
        end = data.find(b"\r", self._start, self._start + MAX_LENGTH_DIGITS + 1)
        digits = data[self._start : end]
        if end < 0 or not digits.isdigit() or not data.startswith(self._after, end):
            return None
        return end + len(self._after), digits

    def scope(self, digits: bytes) -> dict[str, Any]:
        """The ASGI scope of a request that repeats the head with another length."""
        scope = self._scope.copy()
        headers = scope["headers"] = self._scope["headers"].copy()
        if self._position is not None:
            headers[self._position] = (_LENGTH, digits)
        return scope


def _is_length(value: bytes) -> bool:
    return value.isdigit() and len(value) <= MAX_LENGTH_DIGITS
