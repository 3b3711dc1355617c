"""Files in the envelope; neither an upload nor a download is ever held whole."""

from urllib.parse import quote

from gateway import relay
from gateway.call import Call
from gateway.pagination import cursors
from gateway.responses import Response, StreamResponse
from gateway.uploads import form_upload

PATH = "/v1/files"


async def upload_file(call: Call) -> Response:
    """Store a file."""
    return await relay.envelope_whole(call, await relay.send_envelope(call, "POST", PATH, form_upload(call)))


async def list_files(call: Call) -> Response:
    """A page of files."""
    return await relay.envelope_whole(call, await relay.send_envelope(call, "GET", f"{PATH}?{cursors(call)}"))


async def get_file(call: Call, file_id: str) -> Response:
    """What is known of a file."""
    return await relay.envelope_whole(call, await relay.send_envelope(call, "GET", _item(file_id)))


async def delete_file(call: Call, file_id: str) -> Response:
    """Remove a file."""
    return await relay.envelope_whole(call, await relay.send_envelope(call, "DELETE", _item(file_id)))


async def download_file(call: Call, file_id: str) -> StreamResponse:
    """A file's bytes, as they come."""
    return await relay.envelope_download(call, f"{_item(file_id)}/content")


def _item(file_id: str) -> str:
    return f"{PATH}/{quote(file_id, safe='')}"
