"""A plain HTTP client that sends exactly what a test says and shows exactly what came back."""

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 20.0

Headers = Sequence[tuple[str, str]]
Body = bytes | dict[str, Any] | None


@dataclass(frozen=True)
class Answer:
    """A whole answer; header names in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The only value of a header. Two of one name fail the test that asks."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)


class Stream:
    """An answer that is still coming."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        sock = connection.sock
        assert sock is not None
        self._sock = sock
        self._connection = connection
        self._response = connection.getresponse()
        self.status = self._response.status
        self.headers = _headers(self._response)

    def read(self) -> bytes:
        """All that is to come."""
        return self._response.read()

    def chunk(self) -> bytes:
        """What comes next, as soon as it comes."""
        return self._response.read1(1 << 16)

    def until(self, mark: bytes) -> bytes:
        """What comes, up to and with the chunk in which `mark` is seen."""
        data = b""
        while mark not in data:
            part = self.chunk()
            assert part, f"the stream ended without {mark!r}: {data!r}"
            data += part
        return data

    def hang_up(self) -> None:
        """Leave without waiting for the end."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._response.close()
        self._connection.close()


class Client:
    """Calls a server; each call has a connection of its own.

    Args:
        url: scheme, host and port.
        key: sent as x-api-key unless a call says otherwise.
    """

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = url
        self.key = key
        parts = urlsplit(url)
        self.address = (parts.hostname or "", parts.port or 80)

    def call(
        self, method: str, target: str, body: Body = None, headers: Headers = (), *, with_key: bool = True
    ) -> Answer:
        """Send a request and read its whole answer. A dict is sent as JSON."""
        with self.open(method, target, body, headers, with_key=with_key) as stream:
            return Answer(stream.status, stream.headers, stream.read())

    @contextlib.contextmanager
    def open(
        self, method: str, target: str, body: Body = None, headers: Headers = (), *, with_key: bool = True
    ) -> Iterator[Stream]:
        """Send a request and wait for the head of its answer."""
        connection = self.begin(method, target, body, headers, with_key=with_key)
        try:
            stream = Stream(connection)
        except BaseException:
            connection.close()
            raise
        try:
            yield stream
        finally:
            stream.hang_up()

    def begin(
        self, method: str, target: str, body: Body = None, headers: Headers = (), *, with_key: bool = True
    ) -> http.client.HTTPConnection:
        """Send a request and wait for nothing."""
        fields = [(name.lower(), value) for name, value in headers]
        names = {name for name, _ in fields}
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            if "content-type" not in names:
                fields.append(("content-type", "application/json"))
        if with_key and self.key is not None:
            fields.append(("x-api-key", self.key))
        if body is not None and not names & {"content-length", "transfer-encoding"}:
            fields.append(("content-length", str(len(body))))
        connection = http.client.HTTPConnection(*self.address, timeout=TIMEOUT)
        try:
            connection.putrequest(method, target, skip_host="host" in names, skip_accept_encoding=True)
            for name, value in fields:
                connection.putheader(name, value)
            connection.endheaders(body)
        except BaseException:  # such as a server that is killed between accepting and reading
            connection.close()
            raise
        return connection

    def raw(self, data: bytes, timeout: float = TIMEOUT) -> bytes:
        """Send bytes and read until the server closes, or for `timeout` seconds."""
        with socket.create_connection(self.address, timeout) as sock:
            sock.sendall(data)
            parts = []
            with contextlib.suppress(TimeoutError, ConnectionResetError):
                while part := sock.recv(1 << 16):
                    parts.append(part)
        return b"".join(parts)


def _headers(response: http.client.HTTPResponse) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in response.getheaders()]
