"""HTTP/1.1 as uvicorn speaks it, with what it leaves open to anybody closed."""

import re

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 65_536
"""What may come before a request's body, or after it as trailers; one read more may get in."""

_UPGRADE = re.compile(rb"(?<=\r\n)upgrade(?=:)", re.IGNORECASE)


class Http(HttpToolsProtocol):
    """uvicorn's protocol with heads bounded, trailers left out and upgrades ignored."""

    _unbodied_bytes = 0
    _in_body = False

    def data_received(self, data: bytes) -> None:
        """Refuse a head that does not end."""
        self._unbodied_bytes += len(data)
        if not self._in_body and b"pgrade:" in data:
            data = _without_upgrade(data)
        super().data_received(data)
        if self._unbodied_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_headers_complete(self) -> None:
        """Of the parser: the head is whole, and the request's task made."""
        self._in_body = True
        super().on_headers_complete()
        # What the parser still finds are trailers: the stock class would add them to the headers that are
        # being acted upon, past a proxy that has looked at those alone (RFC 9110 §6.5.1).
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Of the parser: some of the body, which `gateway.body` bounds."""
        self._unbodied_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Of the parser: the request is whole."""
        self._unbodied_bytes = 0
        self._in_body = False
        super().on_message_complete()


def _without_upgrade(data: bytes) -> bytes:
    """The same with `Upgrade` under a name that nobody knows.

    A server may ignore it (RFC 9110 §7.8), but the parser stops at it and takes the body for another
    protocol's. Java's client sends it with each request to an `http://` address.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"ignored", head) + end + rest
