"""Forms with files (RFC 7578), read as they arrive: file parts go to storage and never whole into memory."""

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from sandbox.errors import ApiError, invalid
from sandbox.http import Request
from sandbox.storage import Blob, Storage

FORM_LIMIT = 500 * 1024**2 + 64 * 1024
"""Anthropic's 500 MB for a file, and room for the form around it."""
_MAX_FIELD = 64 * 1024
_MAX_PARTS = 1_000


@dataclass(slots=True)
class Upload:
    """A file part."""

    name: str
    filename: str
    content_type: str
    blob: Blob


@dataclass(slots=True)
class Form:
    """A form that was read to its end."""

    fields: dict[str, str] = field(default_factory=dict)
    uploads: list[Upload] = field(default_factory=list)

    def discard(self) -> None:
        """Frees the space of its files."""
        for upload in self.uploads:
            upload.blob.delete()


async def read_form(request: Request, storage: Storage) -> Form:
    """Reads a form.

    Raises `ApiError`: 400 when the body is no well-formed form, or the storage is full; 413 over 500 MB.
    """
    kind, options = parse_options_header(request.headers.get(b"content-type", b""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise invalid("Content-Type: expected multipart/form-data with a boundary")
    reader = _Reader(storage)
    try:
        parser = reader.parser(options[b"boundary"])
        async for chunk in request.chunks(FORM_LIMIT):
            parser.write(chunk)
        reader.check_ended()
    except FormParserError as error:
        reader.form.discard()
        raise invalid(f"The form is malformed: {error}") from None
    except BaseException:
        reader.form.discard()
        raise
    return reader.form


class _Reader:
    """Collects what the parser finds."""

    def __init__(self, storage: Storage) -> None:
        self.form = Form()
        self._ended = False
        self._storage = storage
        self._parts = 0
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._upload: Upload | None = None
        self._text = bytearray()

    def parser(self, boundary: bytes) -> MultipartParser:
        """A parser that reports to this reader."""
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def check_ended(self) -> None:
        if not self._ended:
            raise invalid("The form is cut short: its closing boundary is missing")

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise invalid(f"The form has more than {_MAX_PARTS} parts")
        self._headers = {}

    def _on_header_end(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"name" not in options:
            raise invalid("A part of the form has no name")
        self._name = options[b"name"].decode("utf-8", "replace")
        self._text.clear()
        self._upload = None
        if b"filename" in options:
            filename = options[b"filename"].decode("utf-8", "replace")
            content_type = self._headers.get(b"content-type", b"").decode("latin-1")
            self._upload = Upload(self._name, filename, content_type, self._storage.create())
            self.form.uploads.append(self._upload)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._upload is not None:
            self._upload.blob.write(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > _MAX_FIELD:
            raise ApiError(413, f"{self._name}: a text field may have {_MAX_FIELD} bytes")

    def _on_part_end(self) -> None:
        if self._upload is not None:
            self._upload.blob.close()
        else:
            self.form.fields[self._name] = self._text.decode("utf-8", "replace")

    def _on_end(self) -> None:
        self._ended = True
