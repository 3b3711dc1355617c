"""Multipart bodies: passed on as they come, and read along the way where the spec judges them (RFC 7578)."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gateway.body import BodyReader
from gateway.call import Call
from gateway.catalog import resolve
from gateway.errors import BadRequest, GatewayError


class Upload:
    """The caller's body as an iterator of its chunks; never held whole.

    `error` keeps what was wrong with it, as the HTTP client that reads it only says that reading failed.

    Args:
        call: the request.
        form: reads along, or None where upstream alone judges.
    """

    def __init__(self, call: Call, form: "FormReader | None" = None) -> None:
        assert call.operation is not None
        self._chunks = BodyReader(call.operation).stream(call)
        self._form = form
        self.error: GatewayError | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            if self._form is None:
                async for chunk in self._chunks:
                    yield chunk
                return
            held = b""  # the last chunk goes up when all is known to be good: half a form is no form
            async for chunk in self._chunks:
                self._form.feed(chunk)
                if held:
                    yield held
                held = chunk
            self._form.end()
            yield held
        except GatewayError as error:
            self.error = error
            raise


def form_upload(call: Call) -> Upload:
    """The caller's form, checked against the spec of its operation while it is passed on.

    Raises:
        BadRequest: Content-Type names no boundary, or the body is empty: then upstream would take the head
            alone for a whole request.
    """
    assert call.operation is not None
    if BodyReader(call.operation).check_length(call) == 0:
        raise BadRequest("the body must not be empty: it is a multipart/form-data form")
    bundle = call.services.bundles[call.operation.dialect]
    content = call.services.request_body(call.operation)["content"]["multipart/form-data"]
    schema = resolve(bundle, content["schema"])
    return Upload(call, FormReader(call.header(b"content-type") or b"", schema))


class FormReader:
    """Checks a multipart body against the spec while it goes by: its form, and that files are where files
    belong.

    Args:
        content_type: the request's Content-Type with its boundary.
        schema: the object schema of the form, resolved.

    Raises:
        BadRequest: here and from `feed` and `end`; the message names the part.
    """

    def __init__(self, content_type: bytes, schema: Mapping[str, Any]) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise BadRequest("multipart/form-data needs a boundary in Content-Type")
        self._files = {name for name, member in schema.get("properties", {}).items() if _is_file(member)}
        self._missing = set(schema.get("required", ()))
        self._header = b""
        self._value = b""
        self._name: str | None = None
        self._filename = False
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begin,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_end": self._end,
                },
            )
        except FormParserError:
            raise BadRequest("the multipart boundary is too long") from None

    def feed(self, chunk: bytes) -> None:
        """Read a chunk."""
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise BadRequest("the body is not valid multipart/form-data") from None

    def end(self) -> None:
        """The body is whole."""
        if not self._ended:
            raise BadRequest("the body is not valid multipart/form-data: it breaks off")
        if self._missing:
            raise BadRequest(f"part {min(self._missing)}: is required")

    def _part_begin(self) -> None:
        self._name, self._filename = None, False

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            options = parse_options_header(self._value)[1]
            self._name = options[b"name"].decode(errors="replace") if b"name" in options else None
            self._filename = b"filename" in options
        self._header = self._value = b""

    def _headers_finished(self) -> None:
        if self._name is None:
            raise BadRequest("each part needs a Content-Disposition with a name (RFC 7578 §4.2)")
        if self._name in self._files and not self._filename:
            raise BadRequest(f"part {self._name}: must be a file, with a filename")
        self._missing.discard(self._name)

    def _end(self) -> None:
        self._ended = True


def _is_file(schema: Mapping[str, Any]) -> bool:
    return schema.get("format") == "binary" or schema.get("items", {}).get("format") == "binary"
