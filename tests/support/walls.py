"""Keys that each make something of their own, for the tests of the walls between them."""

import asyncio
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from gateway.keys import Key
from gateway.resources import Owned
from gateway.store import Store
from gateway.walls import Walls
from tests.support.client import Answer, Client
from tests.support.gateway import Gateway

SCOPES = ("messages", "batches", "models", "files", "skills", "agents")
MODEL = "claude-sonnet-5-5"
MESSAGE = {"model": MODEL, "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}
BOUNDARY = [("content-type", "multipart/form-data; boundary=b")]


class App(NamedTuple):
    """A key of its own."""

    client: Client
    id: str

    def call(self, *args: Any, **kwargs: Any) -> Answer:
        return self.client.call(*args, **kwargs)


def make_app(gateway: Gateway, name: str, scopes: Iterable[str] = SCOPES) -> App:
    """An app with a new key."""
    body = {"name": f"{name} {uuid.uuid4().hex[:8]}", "scopes": list(scopes)}
    made = gateway.call("POST", "/api/v1/keys", body).json()["data"]
    return App(Client(gateway.url, made["key"]), made["id"])


def give(data: Path, owner: str, *resources: Owned) -> None:
    """Enter resources in the register of a gateway, as if a key had made them."""
    store = Store(f"sqlite:///{data / 'gateway.db'}")
    try:
        asyncio.run(Walls(store).record(Key(owner, "", frozenset()), resources))
    finally:
        store.close_now()


def made(answer: Answer) -> dict[str, Any]:
    """The object of an answer that has to be a success, in either dialect."""
    assert answer.status == 200, answer.body
    value: dict[str, Any] = answer.json()
    return value["data"] if "success" in value else value


def form(name: str, filename: str, content: bytes) -> bytes:
    """A form with one file."""
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n\r\n'
    return head.encode() + content + b"\r\n--b--\r\n"


def upload(app: App | Client, path: str = "/v1/files") -> str:
    """A new file's id."""
    return str(made(app.call("POST", path, form("file", "a.txt", b"text"), BOUNDARY))["id"])


def make_batch(
    app: App | Client, path: str = "/v1/messages/batches", params: dict[str, Any] = MESSAGE
) -> str:
    """A new batch's id."""
    return str(made(app.call("POST", path, {"requests": [{"custom_id": "a", "params": params}]}))["id"])


def make_skill(app: App | Client, name: str, path: str = "/v1/skills") -> str:
    """A new skill's id."""
    manifest = f"---\nname: {name}\ndescription: for a test\n---\n".encode()
    return str(made(app.call("POST", path, form("files[]", f"{name}/SKILL.md", manifest), BOUNDARY))["id"])


def is_missing(answer: Answer) -> bool:
    """Whether an answer is a 404 of its dialect, which names what was not found and no more."""
    if answer.status != 404:
        return False
    value = answer.json()
    if "success" in value:
        told = value["error"], value["metadata"]["error_type"] == "NotFoundError"
    else:
        told = value["error"]["message"], value["error"]["type"] == "not_found_error"
    return bool(told[1] and str(told[0]).endswith(" was not found"))
