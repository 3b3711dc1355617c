"""Where a batch says its results are: at the gateway, under the address by which the caller reached it."""

import asyncio
import json
import time

import pytest
from anthropic import AsyncAnthropic

from tests.support.client import Answer
from tests.support.gateway import ADMIN_KEY, Gateway, eventually
from tests.support.recorder import Recorder, answer

THEIRS = b"https://api.anthropic.com/v1/messages/batches/msgbatch_%b/results"
PARAMS = {"model": "claude-opus-5-5", "messages": [{"role": "user", "content": "Hi"}]}
HOST = [("host", "nas.lan:8090")]
SPOOFED = [
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-prefix", "/evil"),
    ("forwarded", "host=evil.example;proto=https"),
]


def batch(name: bytes, url: bytes | None) -> bytes:
    """A batch with odd white space, and with its address in another member too."""
    quoted = b"null" if url is None else b'"%b"' % url
    return (
        b'{ "id":"msgbatch_%b", "type":"message_batch","results_url" :\t%b,\n "n":1.10,'
        b'"note":%b,"other":"%b"}' % (name, quoted, quoted, THEIRS % name)
    )


ONE = batch(b"a", THEIRS % b"a")
RUNNING = batch(b"a", None)
PAGE = b'{"data":[%b,%b, %b],"has_more":false}\n' % (
    ONE,
    RUNNING,
    batch(b"b", (THEIRS % b"b").replace(b"/", rb"\/")),
)
OPERATIONS = {
    "create": ("POST", "", b'{"requests":[{"custom_id":"a","params":{"model":"m","messages":[]}}]}'),
    "retrieve": ("GET", "/msgbatch_a", None),
    "list": ("GET", "", None),
    "cancel": ("POST", "/msgbatch_a/cancel", None),
}

operations = pytest.mark.parametrize("operation", OPERATIONS)


def own(body: bytes, address: bytes) -> bytes:
    """`body` with the members named results_url, and nothing else, changed to `address`."""
    for name in (b"a", b"b"):
        for theirs in (THEIRS % name, (THEIRS % name).replace(b"/", rb"\/")):
            member = b'"results_url" :\t"%b"'
            body = body.replace(member % theirs, member % (address % name))
    return body


@operations
@pytest.mark.parametrize("query", ["", "?beta=true"], ids=["GA", "beta"])
@pytest.mark.parametrize("extra", [[], SPOOFED], ids=["plain", "spoofed"])
def test_native(
    gateway: Gateway, upstream: Recorder, operation: str, query: str, extra: list[tuple[str, str]]
) -> None:
    method, path, sent = OPERATIONS[operation]
    body = PAGE if operation == "list" else ONE
    upstream.script(answer(body=body))
    headers = [*HOST, *extra, ("content-type", "application/json")]

    got = gateway.call(method, f"/v1/messages/batches{path}{query}", sent, headers)

    assert got.body == own(body, b"http://nas.lan:8090/v1/messages/batches/msgbatch_%b/results")
    assert got.body != body
    assert upstream.only.target == f"/v1/messages/batches{path}{query}"


ENVELOPE = {
    "create": ("POST", "/create"),
    "retrieve": ("GET", "/msgbatch_a"),
    "list": ("GET", ""),
    "cancel": ("POST", "/msgbatch_a/cancel"),
}


@operations
@pytest.mark.parametrize("extra", [[], SPOOFED], ids=["plain", "spoofed"])
def test_envelope(gateway: Gateway, upstream: Recorder, operation: str, extra: list[tuple[str, str]]) -> None:
    method, path = ENVELOPE[operation]
    sent = None
    if operation == "create":
        sent = {"requests": [{"custom_id": "a", "params": PARAMS}]}
    body = PAGE if operation == "list" else ONE
    upstream.script(answer(body=body))

    got = gateway.call(method, f"/api/v1/batches{path}", sent, [*HOST, *extra])

    expected = own(body, b"http://nas.lan:8090/api/v1/batches/msgbatch_%b/results").strip()
    assert got.body.startswith(b'{"success":true,"data":' + expected + b',"metadata":{'), got.body


@pytest.mark.parametrize("target", ["/v1/messages/batches/msgbatch_a", "/api/v1/batches/msgbatch_a"])
def test_no_results_yet(gateway: Gateway, upstream: Recorder, target: str) -> None:
    upstream.script(answer(body=RUNNING))

    assert RUNNING in gateway.call("GET", target).body


@pytest.mark.parametrize("beta", [False, True], ids=["GA", "beta"])
async def test_the_sdk_follows_it(sandboxed: Gateway, beta: bool) -> None:
    """It sends its key to whatever address the batch names, so that must be the one that it was given."""
    url = sandboxed.url.replace("127.0.0.1", "localhost")
    async with AsyncAnthropic(base_url=url, api_key=ADMIN_KEY) as client:
        batches = client.beta.messages.batches if beta else client.messages.batches
        params = {
            "model": "claude-opus-5-5",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "Hi"}],
        }
        made = await batches.create(requests=[{"custom_id": "a", "params": params}])  # type: ignore[list-item]
        ended = await wait_for_the_end(batches, made.id)

        assert ended.results_url.startswith(f"{url}/v1/messages/batches/{made.id}/results")
        results = [result async for result in await batches.results(made.id)]
        assert [(result.custom_id, result.result.type) for result in results] == [("a", "succeeded")]


async def wait_for_the_end(batches, batch_id: str):  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 20
    while (found := await batches.retrieve(batch_id)).processing_status != "ended":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    return found


def test_a_script_follows_it(sandboxed: Gateway) -> None:
    """In the envelope: from creation to the results, by what the answers say."""
    sent = {"requests": [{"custom_id": "a", "params": PARAMS}]}

    def asked_early() -> tuple[str, Answer] | None:  # within the second that a batch takes in the sandbox
        made = sandboxed.call("POST", "/api/v1/batches/create", sent).json()["data"]
        asked = sandboxed.call("GET", f"/api/v1/batches/{made['id']}/results")
        return None if asked.status == 200 else (f"/api/v1/batches/{made['id']}", asked)

    path, early = eventually(asked_early, 20)

    def ended() -> dict[str, str] | None:
        found = sandboxed.call("GET", path).json()["data"]
        return found if found["processing_status"] == "ended" else None

    assert early.status == 409
    assert early.json()["error"] == (
        "the batch has not ended (processing_status is in_progress), so it has no results yet"
    )
    assert early.json()["metadata"]["error_type"] == "ConflictError"
    found = eventually(ended, 20)
    target = found["results_url"].removeprefix(sandboxed.url)
    assert target == f"{path}/results"
    (result,) = sandboxed.call("GET", target).json()["data"]
    assert (result["custom_id"], result["result"]["type"]) == ("a", "succeeded")
    (line,) = sandboxed.call("GET", target, headers=[("accept", "application/x-jsonl")]).body.splitlines()
    assert json.loads(line) == result
