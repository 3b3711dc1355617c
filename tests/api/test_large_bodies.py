"""JSON bodies above a megabyte: read in a process of their own, and served as any other."""

import json
import os
import select
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Relay
from tests.support import gateway as gateways
from tests.support.client import Client
from tests.support.gateway import Gateway, eventually
from tests.support.walls import MESSAGE, is_missing, make_app, upload

BLOCKS = [{"type": "text", "text": f"Grüße, Nummer {number}"} for number in range(24_000)]

FAULTY = {"role": "user", "content": [*BLOCKS, {"type": "text"}]}


def large(**members: Any) -> dict[str, Any]:
    body = {**MESSAGE, "messages": [{"role": "user", "content": BLOCKS}], **members}
    return {name: value for name, value in body.items() if value is not None}


def sent(body: dict[str, Any]) -> bytes:
    raw = json.dumps(body, ensure_ascii=False).encode()
    assert len(raw) > 1_000_000
    return raw


def reader_of(gateway: Gateway) -> int:
    """The worker process."""
    pid = gateway.process.pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if b"gateway.large_bodies.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    return 0


def test_native_bytes_go_up_as_they_came(relay: Relay) -> None:
    raw = sent(large())
    got = relay.kitchen.call("POST", "/v1/messages", raw)
    assert got.status == 200, got.body
    assert relay.upstream.only.body == raw


def test_the_envelope_s_allowances(relay: Relay) -> None:
    """Only what the envelope adds is changed, as in a small body."""
    relay.kitchen.call("POST", "/api/v1/messages/create", sent(large(max_tokens=None, tool_choice="any")))
    up = relay.upstream.only.body
    assert json.loads(up) == large(max_tokens=1024, tool_choice={"type": "any"})
    assert json.dumps(BLOCKS, ensure_ascii=False).encode() in up


def test_batches(relay: Relay) -> None:
    params = large(max_tokens=None, tool_choice="none")
    raw = sent({"requests": [{"custom_id": f"c{number}", "params": params} for number in range(2)]})
    admin = relay.gateway
    admin.call("POST", "/api/v1/batches/create", raw)
    wanted = large(max_tokens=1024, tool_choice={"type": "none"})
    assert [request["params"] for request in json.loads(relay.upstream.only.body)["requests"]] == [wanted] * 2


@pytest.mark.parametrize(
    ("target", "body", "message"),
    [
        ("/api/v1/messages/create", large(messages=[FAULTY]), "/messages/0/content/24000"),
        ("/api/v1/messages/create", large(model=5), "/model"),
        ("/api/v1/messages/create", large(model="m" * 5000), "/model"),
        ("/api/v1/messages/async", large(model="m" * 5000), "/model"),
        ("/v1/messages", large(max_tokens="many"), "/max_tokens: must be an integer"),
        ("/v1/messages", BLOCKS, "the body must be a JSON object"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(relay: Relay, target: str, body: Any, message: str) -> None:
    got = relay.kitchen.call("POST", target, sent(body))
    assert got.status == 400
    assert message in got.body.decode()
    assert relay.upstream.requests == []


def test_what_is_no_json(relay: Relay) -> None:
    got = relay.kitchen.call("POST", "/v1/messages", sent(large())[:-1] + b',"max_tokens":NaN}')
    assert got.status == 400
    assert "the body is not valid JSON" in got.body.decode()
    assert relay.upstream.requests == []


def test_walls_and_models_hold(sandboxed: Gateway) -> None:
    one, two = make_app(sandboxed, "large one"), make_app(sandboxed, "large two")
    file_id = upload(one)
    source = {"type": "document", "source": {"type": "file", "file_id": file_id}}
    body = sent(large(messages=[{"role": "user", "content": [*BLOCKS, source]}]))
    assert is_missing(two.call("POST", "/v1/messages", body))
    assert one.call("POST", "/v1/messages", body).status != 404

    only = {"name": "large models", "models": ["claude-3-opus-*"]}
    secret = sandboxed.call("POST", "/api/v1/keys", only).json()["data"]["key"]
    refused = Client(sandboxed.url, secret).call("POST", "/v1/messages", sent(large()))
    assert refused.status == 403


def test_others_are_served_meanwhile_and_a_reader_that_dies_is_replaced(tmp_path: Path) -> None:
    with gateways.running(tmp_path, {"UPSTREAM": "sandbox"}) as gateway:
        body = sent(large())
        assert gateway.call("POST", "/v1/messages", body).status == 200
        reader = reader_of(gateway)
        os.kill(reader, signal.SIGSTOP)
        waiting = gateway.begin("POST", "/v1/messages", body)
        for _ in range(3):  # in which the body, sent before, has long come to the reader
            assert gateway.call("POST", "/v1/messages", MESSAGE).status == 200
        assert not select.select([waiting.sock], [], [], 0)[0]
        os.kill(reader, signal.SIGKILL)
        assert waiting.getresponse().status == 503
        waiting.close()
        assert gateway.call("POST", "/v1/messages", body).status == 200
        assert reader_of(gateway) not in (0, reader)
        last = reader_of(gateway)
    eventually(lambda: not Path(f"/proc/{last}").exists() or None, 10)


def test_keys_take_no_large_bodies(sandboxed: Gateway) -> None:
    announced = [("content-type", "application/json"), ("content-length", "1000001")]
    assert sandboxed.call("POST", "/api/v1/keys", b"{}", announced).status == 413
