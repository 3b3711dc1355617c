"""What is kept of prompts and answers is told to its key, and deleted by it."""

import uuid
from pathlib import Path
from typing import Any

from tests.conftest import RELAY_SETTINGS, Relay
from tests.support import gateway as gateways
from tests.support.client import Client
from tests.support.gateway import eventually
from tests.support.keys import KEYS, new_key
from tests.support.recorder import Gate, Recorder, answer

PATH = "/api/v1/content"
ASYNC = "/api/v1/messages/async"
BODY: dict[str, Any] = {"model": "claude-opus-4-5", "messages": [{"role": "user", "content": "Hi"}]}
MESSAGE = (
    b'{"id":"msg_1","type":"message","role":"assistant","model":"claude-opus-4-5",'
    b'"content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","stop_sequence":null,'
    b'"usage":{"input_tokens":3,"output_tokens":2}}'
)
SOON = 10.0


def kept(client: Client, query: str = "") -> dict[str, tuple[int, int]]:
    kinds = client.call("GET", PATH + query).json()["data"]["kinds"]
    return {kind["kind"]: (kind["items"], kind["bytes"]) for kind in kinds}


def ended(client: Client, path: str) -> bool | None:
    return client.call("GET", path).json()["data"]["ended_at"] is not None or None


def test_its_key_sees_it_and_deletes_it(relay: Relay) -> None:
    _, app = new_key(relay.gateway, f"content {uuid.uuid4()}")
    _, other = new_key(relay.gateway, f"content {uuid.uuid4()}")
    gate = Gate()
    relay.upstream.reply = lambda _: answer(body=MESSAGE)
    key = ("idempotency-key", "the-same")
    first, others = (client.call("POST", "/api/v1/messages/create", BODY, [key]) for client in (app, other))
    done = str(app.call("POST", ASYNC, BODY).header("location"))
    eventually(lambda: ended(app, done), SOON)
    relay.upstream.script([gate, *answer(body=MESSAGE)])
    running = str(app.call("POST", ASYNC, BODY).header("location"))
    relay.upstream.wait_for(4)

    def before() -> dict[str, tuple[int, int]] | None:  # the prompt of what has ended goes a little later
        found = kept(app)
        return found if found["async_message"][0] == 2 else None

    # An answer, and the prompt of the one that runs.
    assert eventually(before, SOON)["replay"] == (1, len(first.body))

    left = app.call("DELETE", PATH)

    assert [kind["kind"] for kind in left.json()["data"]["kinds"]] == ["async_message"]
    assert kept(app)["async_message"][0] == 1
    assert app.call("GET", done).status == 404
    gate.open()
    eventually(lambda: ended(app, running), SOON)
    again = app.call("POST", "/api/v1/messages/create", BODY, [key])
    assert (again.status, again.header("idempotency-replayed")) == (200, None)
    assert kept(other) == {"replay": (1, len(others.body))}


def test_an_admin_sees_and_deletes_also_what_a_revoked_key_has_left(relay: Relay) -> None:
    key_id, app = new_key(relay.gateway, f"content {uuid.uuid4()}")
    relay.upstream.script(answer(body=MESSAGE))
    app.call("POST", "/v1/messages", {**BODY, "max_tokens": 1}, [("idempotency-key", "one")])
    assert relay.gateway.call("DELETE", f"{KEYS}/{key_id}").status == 200
    assert kept(relay.gateway, f"?key_id={key_id}") == {"replay": (1, len(MESSAGE))}

    deleted = relay.gateway.call("DELETE", f"{PATH}?key_id={key_id}")

    assert deleted.json()["data"] == {"kinds": []}


def test_others_do_not_exist(relay: Relay) -> None:
    key_id, _ = new_key(relay.gateway, f"content {uuid.uuid4()}")
    _, other = new_key(relay.gateway, f"content {uuid.uuid4()}")
    for method in ("GET", "DELETE"):
        assert other.call(method, f"{PATH}?key_id={key_id}").status == 404
        assert relay.gateway.call(method, f"{PATH}?key_id=key_{'0' * 24}").status == 404


def test_a_disk_that_takes_nothing(tmp_path: Path) -> None:
    """What is paid for is delivered; what was to be stored first is refused before it costs anything."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "results").write_bytes(b"a file where the folder should be")
    with Recorder() as upstream:
        upstream.reply = lambda _: answer(body=MESSAGE)
        settings = RELAY_SETTINGS | {"ANTHROPIC_BASE_URL": upstream.url}
        with gateways.running(tmp_path, settings) as gateway:
            refused = gateway.call("POST", ASYNC, BODY)
            assert (refused.status, refused.header("retry-after")) == (503, "60")
            assert upstream.requests == []
            key = ("idempotency-key", "one")
            for _ in range(2):
                message = gateway.call("POST", "/v1/messages", {**BODY, "max_tokens": 1}, [key])
                assert (message.status, message.body) == (200, MESSAGE)
                assert message.header("idempotency-replayed") is None
            assert kept(gateway) == {}
