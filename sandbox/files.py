"""The six file calls: upload, list, metadata, content, delete, and use in a message."""

import mimetypes
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from sandbox import pages, times
from sandbox.errors import ApiError, invalid, not_found
from sandbox.http import Request, Response, ok
from sandbox.ids import Ids
from sandbox.multipart import Form, Upload, read_form
from sandbox.storage import Blob, Storage

_MIN_LIFE, _MAX_LIFE = 3_600, 7_776_000  # seconds
_MAX_IDS = 100


@dataclass(slots=True)
class StoredFile:
    """A file: what the API says of it, and its bytes."""

    metadata: dict[str, Any]
    blob: Blob


class Files:
    """The files, newest first. They do not expire before the sandbox ends."""

    def __init__(self, ids: Ids, storage: Storage, max_files: int) -> None:
        self._ids = ids
        self._storage = storage
        self._max_files = max_files
        self._files: dict[str, StoredFile] = {}

    def find(self, file_id: str) -> StoredFile:
        """The file of that id; raises `ApiError` 404 when there is none."""
        found = self._files.get(file_id)
        if found is None:
            raise not_found(f"File not found: {file_id}")
        return found

    def create(self, filename: str, content: bytes) -> str:
        """Stores a file that a tool made; returns its id."""
        blob = self._storage.create()
        blob.write(content)
        return str(self._add(filename, None, blob, None)["id"])

    async def upload(self, request: Request) -> Response:
        """POST /v1/files."""
        form = await read_form(request, self._storage)
        try:
            upload = _file_part(form)
            metadata = self._add(upload.filename, upload.content_type, upload.blob, _life(form))
        except ApiError:
            form.discard()
            raise
        for other in form.uploads:
            if other is not upload:
                other.blob.delete()
        return ok(metadata)

    async def list_all(self, request: Request) -> Response:
        """GET /v1/files."""
        ids = request.queries("ids[]") + request.queries("ids")
        newest_first = [stored.metadata for stored in reversed(self._files.values())]
        if not ids:
            return ok(pages.by_token(request, newest_first))
        if len(set(ids)) > _MAX_IDS:
            raise invalid(f"ids: at most {_MAX_IDS} ids may be given")
        if request.query("limit") is not None or request.query("page") is not None:
            raise invalid("ids: may not be combined with `limit` or `page`")
        return ok({"data": [one for one in newest_first if one["id"] in ids], "next_page": None})

    async def retrieve(self, request: Request) -> Response:
        """GET /v1/files/{file_id}."""
        return ok(self.find(request.params[0]).metadata)

    async def download(self, request: Request) -> Response:
        """GET /v1/files/{file_id}/content; unlike Anthropic's, for uploaded files too."""
        stored = self.find(request.params[0])
        return Response(
            stored.blob.chunks(),
            content_type=stored.metadata["mime_type"].encode("latin-1", "replace"),
            headers=[
                (b"content-length", b"%d" % stored.blob.size),
                (
                    b"content-disposition",
                    b"attachment; filename*=UTF-8''" + quote(stored.metadata["filename"]).encode(),
                ),
            ],
        )

    async def delete(self, request: Request) -> Response:
        """DELETE /v1/files/{file_id}."""
        stored = self.find(request.params[0])
        del self._files[stored.metadata["id"]]
        stored.blob.delete()
        return ok({"id": stored.metadata["id"], "type": "file_deleted"})

    def _add(self, filename: str, mime_type: str | None, blob: Blob, life: int | None) -> dict[str, Any]:
        if len(self._files) >= self._max_files:
            raise ApiError(400, "The storage quota is used up", error_code="storage_quota_exceeded")
        mime_type = mime_type or mimetypes.guess_type(filename)[0] or "application/octet-stream"
        name = filename.replace("\\", "/").rpartition("/")[2]
        metadata: dict[str, Any] = {
            "id": self._ids.new("file"),
            "type": "file",
            "filename": name or "unnamed" + (mimetypes.guess_extension(mime_type) or ""),
            "mime_type": mime_type,
            "size_bytes": blob.size,
            "created_at": times.now(),
            "downloadable": True,
            "expires_at": None if life is None else times.now(plus_seconds=life),
        }
        blob.close()
        self._files[metadata["id"]] = StoredFile(metadata, blob)
        return metadata


def _file_part(form: Form) -> Upload:
    for upload in form.uploads:
        if upload.name == "file":
            return upload
    if "file" in form.fields:
        raise invalid("file: Expected a file part, with a filename")
    raise invalid("file: Field required")


def _life(form: Form) -> int | None:
    text = form.fields.get("expires_in_seconds")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and _MIN_LIFE <= int(text[:10]) <= _MAX_LIFE):
        raise invalid(f"expires_in_seconds: Input should be an integer from {_MIN_LIFE} to {_MAX_LIFE}")
    return int(text)
