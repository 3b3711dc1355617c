"""Forms are read while they pass by, whatever the pieces in which they come."""

from typing import Any

import pytest

from gateway.errors import BadRequest
from gateway.uploads import FormReader

SCHEMA: dict[str, Any] = {
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "files[]": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "note": {"type": "string"},
    },
    "required": ["file"],
}
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n'
NOTE = b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
END = b"--b--\r\n"


def read(body: bytes, piece: int = 1000, kind: bytes = b"multipart/form-data; boundary=b") -> None:
    reader = FormReader(kind, SCHEMA)
    for at in range(0, len(body), piece):
        reader.feed(body[at : at + piece])
    reader.end()


GOOD = {
    "file": FILE + END,
    "text beside it": NOTE + FILE + END,
    "names without quotes": FILE.replace(b'"file"', b"file") + END,
    "odd case of the header": FILE.replace(b"Content-Disposition", b"content-DISPOSITION") + END,
    "type and more headers": FILE.replace(
        b"\r\n\r\n", b"\r\nContent-Type: a/b\r\nX-Odd: name=note\r\n\r\n", 1
    )
    + END,
    "boundary inside the content": FILE.replace(b"abc", b"\r\n--c\r\n--bb \r\n-") + END,
    "several files": FILE + FILE.replace(b'"file"', b'"files[]"') * 2 + END,
    "unknown part": FILE + NOTE.replace(b"note", b"novel") + END,
    "empty file": FILE.replace(b"abc", b"") + END,
    "words after the end": FILE + END + b"\r\n",
}


@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD)
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_good_forms(body: bytes, piece: int) -> None:
    read(body, piece)


BAD = {
    "empty": (b"", "it breaks off"),
    "no form": (b"{}", "not valid multipart"),
    "no end": (FILE, "it breaks off"),
    "cut inside a header": (FILE[:30], "it breaks off"),
    "no file": (NOTE + END, "part file: is required"),
    "text for a file": (FILE.replace(b'; filename="a"', b"") + END, "part file: must be a file"),
    "text for one of the files": (
        FILE + NOTE.replace(b"note", b"files[]") + END,
        r"part files\[\]: must be a file",
    ),
    "no name": (FILE.replace(b'name="file"; ', b"") + END, "needs a Content-Disposition with a name"),
    "no disposition": (b"--b\r\nX: y\r\n\r\nabc\r\n" + END, "needs a Content-Disposition with a name"),
    "another boundary": (FILE.replace(b"--b", b"--c") + b"--c--\r\n", "not valid multipart"),
}


@pytest.mark.parametrize(("body", "message"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("piece", [1, 1000])
def test_bad_forms(body: bytes, message: str, piece: int) -> None:
    with pytest.raises(BadRequest, match=message):
        read(body, piece)


@pytest.mark.parametrize(
    "kind", [b"", b"multipart/form-data", b"multipart/form-data; boundary=", b"multipart/form-data; x=b"]
)
def test_no_boundary(kind: bytes) -> None:
    with pytest.raises(BadRequest, match="needs a boundary"):
        read(FILE + END, kind=kind)


def test_boundary_that_is_too_long() -> None:
    with pytest.raises(BadRequest, match="boundary"):
        read(FILE + END, kind=b"multipart/form-data; boundary=" + b"b" * 5000)
