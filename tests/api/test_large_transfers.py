"""What is large passes through: 500 MB up and down, 100,000 results, and never more memory for it."""

import contextlib
import hashlib
import http.client
import json
import select
import socket
from collections.abc import Iterable, Iterator

import pytest

from sandbox import serve_in_thread
from tests.support import gateway as gateways
from tests.support.client import Client
from tests.support.gateway import UPSTREAM_KEY, Gateway
from tests.support.memory import Growth
from tests.support.recorder import Recorder, answer, stream

MEGABYTE = 1_000_000
BOUND = 20 * MEGABYTE
BLOCK = hashlib.shake_128(b"incompressible").digest(MEGABYTE)
BLOCKS = 500
FILE_SIZE = BLOCKS * MEGABYTE
BEGIN = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
END = b"\r\n--b--\r\n"
FORM = ("content-type", "multipart/form-data; boundary=b")

UPLOADS = {"native": "/v1/files", "envelope": "/api/v1/files/upload"}
dialects = pytest.mark.parametrize(
    ("upload", "files"),
    [(UPLOADS["native"], "/v1/files"), (UPLOADS["envelope"], "/api/v1/files")],
    ids=UPLOADS,
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Client]:
    """The sandbox in another process than the gateway, whose memory is watched."""
    with serve_in_thread() as url:
        yield Client(url, UPSTREAM_KEY)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, sandbox: Client) -> Iterator[Gateway]:
    settings = {"ANTHROPIC_API_KEY": UPSTREAM_KEY, "ANTHROPIC_BASE_URL": sandbox.url}
    with gateways.running(tmp_path_factory.mktemp("front"), settings) as gateway:
        yield gateway


@pytest.mark.parametrize("target", ["/v1/messages", "/api/v1/keys"])
def test_a_body_that_is_too_large_is_told_so(front: Gateway, target: str) -> None:
    """The answer is not lost while the rest of the body is still coming."""
    for _ in range(5):
        got = front.call("POST", target, BLOCK * 40, [("content-type", "application/json")])
        assert got.status == 413


@dialects
def test_file(sandbox: Client, front: Gateway, upload: str, files: str) -> None:
    assert front.call("GET", files).status == 200
    sandbox.call("DELETE", "/_sandbox/requests")
    growth = Growth(front)

    connection = begin_upload(front, upload)
    for _ in range(BLOCKS):
        connection.send(BLOCK)
    connection.send(END)
    response = connection.getresponse()
    body = json.loads(response.read())
    connection.close()

    assert response.status == 200, body
    file = body.get("data", body)
    assert file["size_bytes"] == FILE_SIZE
    (arrived,) = sandbox.call("GET", "/_sandbox/requests").json()["requests"]
    assert arrived["body_sha256"] == sha256([BEGIN, *[BLOCK] * BLOCKS, END])
    assert growth.most < BOUND

    with front.open("GET", f"{files}/{file['id']}/content") as download:
        assert dict(download.headers)["content-length"] == str(FILE_SIZE)
        assert sha256(iter(download.chunk, b"")) == sha256([BLOCK] * BLOCKS)
    assert growth.most < BOUND
    assert front.call("DELETE", f"{files}/{file['id']}").status == 200


def sha256(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


@pytest.fixture(scope="module")
def deaf() -> Iterator[socket.socket]:
    """An upstream that reads nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture(scope="module")
def before_deaf(tmp_path_factory: pytest.TempPathFactory, deaf: socket.socket) -> Iterator[Gateway]:
    url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
    settings = {"ANTHROPIC_API_KEY": UPSTREAM_KEY, "ANTHROPIC_BASE_URL": url}
    with gateways.running(tmp_path_factory.mktemp("deaf"), settings) as gateway:
        yield gateway


@pytest.mark.parametrize("target", UPLOADS.values(), ids=UPLOADS)
def test_upload_waits_for_upstream(before_deaf: Gateway, target: str) -> None:
    """An upstream that does not read holds the caller back, and costs the gateway no memory."""
    growth = Growth(before_deaf)

    assert taken(begin_upload(before_deaf, target)) < 50 * MEGABYTE
    assert growth.most < BOUND


@pytest.mark.parametrize("target", UPLOADS.values(), ids=UPLOADS)
def test_refusal_of_half_an_upload(before_deaf: Gateway, deaf: socket.socket, target: str) -> None:
    """Upstream may refuse before it has read the whole body; its refusal is the answer."""
    refusal = b'{"type":"error","error":{"type":"rate_limit_error","message":"later"}}'
    (sent,) = answer(429, refusal, headers=[("connection", "close")])
    assert isinstance(sent, bytes)

    connection = begin_upload(before_deaf, target)
    with contextlib.ExitStack() as open_ones:
        for _ in range(50):
            connection.send(BLOCK)
            while select.select([deaf], [], [], 0)[0]:  # those of earlier uploads wait there too
                accepted = open_ones.enter_context(deaf.accept()[0])
                with contextlib.suppress(ConnectionError):
                    accepted.sendall(sent)
            if select.select([connection.sock], [], [], 0.1)[0]:
                break
        response = connection.getresponse()
        body = response.read()
    connection.close()

    assert response.status == 429
    assert b"later" in body


def taken(upload: http.client.HTTPConnection) -> int:
    """How many bytes of an upload are taken before it stands still."""
    assert upload.sock is not None
    upload.sock.settimeout(1.0)
    for count in range(BLOCKS):
        try:
            upload.send(BLOCK)
        except TimeoutError:
            upload.close()
            return count * MEGABYTE
    return FILE_SIZE


def begin_upload(gateway: Gateway, target: str) -> http.client.HTTPConnection:
    length = len(BEGIN) + FILE_SIZE + len(END)
    return gateway.begin("POST", target, BEGIN, [FORM, ("content-length", str(length))])


RESULTS = 100_000


def lines(first: int, count: int) -> bytes:
    """Results of a batch, of some 600 bytes each."""
    content = [{"type": "text", "text": "Lentil soup. " * 30}]
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": content}
    result = json.dumps({"type": "succeeded", "message": message})
    return b"".join(
        b'{"custom_id":"%d","result":%b}\n' % (number, result.encode())
        for number in range(first, first + count)
    )


@pytest.mark.parametrize(
    ("target", "accept"),
    [
        ("/v1/messages/batches/b/results", "application/binary"),
        ("/api/v1/batches/b/results", "application/x-jsonl"),
        ("/api/v1/batches/b/results", "application/json"),
    ],
    ids=["native", "lines", "list"],
)
def test_results(gateway: Gateway, upstream: Recorder, target: str, accept: str) -> None:
    pieces = [lines(first, 1000) for first in range(0, RESULTS, 1000)]
    upstream.script(stream(*pieces, kind="application/x-jsonl"))
    growth = Growth(gateway)

    got = gateway.call("GET", target, headers=[("accept", accept)])

    assert got.status == 200
    assert growth.most < BOUND
    if accept == "application/json":
        body = got.json()
        assert body["metadata"]["request_id"] == got.header("x-request-id")
        assert [result["custom_id"] for result in body["data"]] == [str(number) for number in range(RESULTS)]
        assert got.body.startswith(b'{"success":true,"data":[' + pieces[0].splitlines()[0] + b",")
    else:
        assert got.body == b"".join(pieces)
