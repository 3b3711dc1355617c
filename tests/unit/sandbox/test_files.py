"""Files: upload, use, download, delete; and that their bytes do not fill the memory."""

import hashlib
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest

from sandbox import Settings, serve


def test_upload_use_download_delete(client: anthropic.Anthropic) -> None:
    content = bytes(range(256)) * 5_000 + "Grüße".encode()
    meta = client.files.upload(file=("folder/grüße.bin", content, "application/x-thing"))
    assert (meta.filename, meta.size_bytes, meta.mime_type) == (
        "grüße.bin",
        len(content),
        "application/x-thing",
    )
    assert meta.downloadable is True
    assert client.files.retrieve_metadata(meta.id) == meta
    assert client.files.download(meta.id).read() == content
    document: Any = {"type": "document", "source": {"type": "file", "file_id": meta.id}}
    answer = client.messages.create(
        model="claude-sonnet-5-5",
        max_tokens=99,
        messages=[{"role": "user", "content": [document, {"type": "text", "text": "Read it"}]}],
    )
    assert answer.usage.input_tokens > 2_000
    assert client.files.delete(meta.id).type == "file_deleted"
    for call in (client.files.retrieve_metadata, client.files.download, client.files.delete):
        with pytest.raises(anthropic.NotFoundError, match="File not found"):
            call(meta.id)


def test_mime_type_is_guessed_and_expiry_kept(client: anthropic.Anthropic) -> None:
    meta = client.files.upload(file=("a.txt", b"x"), expires_in_seconds=3600)
    assert meta.mime_type == "text/plain"
    assert meta.expires_at is not None
    assert (meta.expires_at - meta.created_at).total_seconds() == pytest.approx(3600, abs=1)
    with pytest.raises(anthropic.BadRequestError, match="expires_in_seconds"):
        client.files.upload(file=("a.txt", b"x"), expires_in_seconds=1)


def test_list_pages_without_gap_or_double(client: anthropic.Anthropic) -> None:
    made = [client.files.upload(file=(f"{number}.txt", b"x")).id for number in range(5)]
    page = client.files.list(limit=2)
    assert [file.id for file in page.data] == made[:2:-1]
    client.files.upload(file=("later.txt", b"x"))
    client.files.delete(made[3])
    following = page.get_next_page()
    assert [file.id for file in following.data] == made[2:0:-1]
    everything = [file.id for file in client.files.list(limit=2)]
    assert len(everything) == len(set(everything))
    assert {file.id for file in client.files.list(ids=[made[0], "file_none"])} == {made[0]}


@pytest.mark.parametrize("token", ["x", "page_", "page_%", "page_€"])
def test_bad_page_token(client: anthropic.Anthropic, token: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match="page"):
        client.files.list(page=token)


BOUNDARY = b"--b\r\n"
FILE = b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
TEXT = b'Content-Disposition: form-data; name="file"\r\n\r\n'


@pytest.mark.parametrize(
    ("content_type", "body", "message"),
    [
        ("application/json", b"{}", "multipart/form-data"),
        ("multipart/form-data", b"", "boundary"),
        ("multipart/form-data; boundary=b", b"", "cut short"),
        ("multipart/form-data; boundary=b", b"garbage", "malformed"),
        (f"multipart/form-data; boundary={'b' * 300}", b"garbage", "malformed"),
        ("multipart/form-data; boundary=b", BOUNDARY + FILE + b"x", "cut short"),
        ("multipart/form-data; boundary=b", b"--b--\r\n", "file: Field required"),
        ("multipart/form-data; boundary=b", BOUNDARY + TEXT + b"x\r\n--b--\r\n", "file part"),
        ("multipart/form-data; boundary=b", BOUNDARY + b"A: b\r\n\r\nx\r\n--b--\r\n", "no name"),
    ],
)
def test_bad_form(http: httpx2.Client, content_type: str, body: bytes, message: str) -> None:
    answer = http.post("/v1/files", content=body, headers={"content-type": content_type})
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


async def test_large_file_stays_out_of_memory(tmp_path: Path) -> None:
    big = tmp_path / "big.bin"
    digest = hashlib.sha256()
    with big.open("wb") as file:
        for number in range(100):
            block = number.to_bytes(2) * 512 * 1024
            digest.update(block)
            file.write(block)
    async with (
        serve() as url,
        anthropic.AsyncAnthropic(base_url=url, api_key="any", max_retries=0) as client,
    ):
        small = await client.files.upload(file=("small", b"x"))  # what either way imports is there before
        async with client.files.with_streaming_response.download(small.id) as answer:
            await answer.read()
        before = _resident()
        meta = await client.files.upload(file=big)
        received = hashlib.sha256()
        async with client.files.with_streaming_response.download(meta.id) as answer:
            async for chunk in answer.iter_bytes():
                received.update(chunk)
        grown = _resident() - before
    assert received.digest() == digest.digest()
    assert grown < 50 * 1024**2  # of a hundred that went up and came down


def _resident() -> int:
    """This process's memory in bytes, the client's share included."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS in /proc/self/status")


async def test_full_storage_is_refused_and_freed_again() -> None:
    async with (
        serve(settings=Settings(stored_bytes=100)) as url,
        anthropic.AsyncAnthropic(base_url=url, api_key="any", max_retries=0) as client,
    ):
        with pytest.raises(anthropic.BadRequestError) as caught:
            await client.files.upload(file=("a", b"x" * 101))
        assert caught.value.error_code == "storage_quota_exceeded"
        meta = await client.files.upload(file=("a", b"x" * 100))
        await client.files.delete(meta.id)
        await client.files.upload(file=("a", b"x" * 100))
