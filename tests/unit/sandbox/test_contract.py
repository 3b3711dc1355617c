"""What the sandbox answers fits the native spec, and what the spec shows as requests, the sandbox takes."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from openapi import load
from openapi.validation import Schemas
from sandbox import Sandbox
from sandbox.contract import Contract

CONTRACT = Contract(load("native"))
SCHEMAS = Schemas(load("native"))
EVENT = SCHEMAS.validator("#/components/schemas/MessageStreamEvent")
TEXT = {"type": "text", "text": "What is in it?"}
CITABLE = {"citations": {"enabled": True}}
DOCUMENT = {"type": "document", **CITABLE}
SEARCHED = {"type": "search_result", "source": "s", "title": "t", "content": [TEXT], **CITABLE}


def user(*content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}]}


def says(text: str, **more: Any) -> dict[str, Any]:
    return {**user({"type": "text", "text": text}), **more}


def tool(kind: str, name: str) -> dict[str, Any]:
    return {"tools": [{"type": kind, "name": name}]}


REQUESTS = {
    "text": says("Hello"),
    "thinking": says("Hello", thinking={"type": "adaptive"}),
    "redacted": says("ANTHROPIC_MAGIC_STRING_TRIGGER_REDACTED_THINKING_1", thinking={"type": "adaptive"}),
    "tool": says("weather", tools=[{"name": "weather", "input_schema": {"type": "object"}}]),
    "bash": says("run a shell command", **tool("bash_20250124", "bash")),
    "web search": says("search the web", **tool("web_search_20250305", "web_search")),
    "web fetch": says("fetch https://example.com/a", **tool("web_fetch_20250910", "web_fetch")),
    "code": says("python csv", **tool("code_execution_20250825", "code_execution")),
    "old code": says("python csv", **tool("code_execution_20250522", "code_execution")),
    "tool search": says("find it", **tool("tool_search_tool_bm25_20251119", "tool_search_tool_bm25")),
    "skill": says("Hello", container={"skills": [{"type": "anthropic", "skill_id": "pdf"}]}),
    "text citation": user({**DOCUMENT, "source": {"type": "text", "media_type": "text/plain", "data": "A."}}),
    "content citation": user({**DOCUMENT, "source": {"type": "content", "content": "A."}}),
    "page citation": user({**DOCUMENT, "source": {"type": "url", "url": "https://example.com/a.pdf"}}),
    "search citation": user(SEARCHED, TEXT),
    "refusal": says("ANTHROPIC_MAGIC_STRING_TRIGGER_REFUSAL_1"),
    "no tokens": says("Hello", max_tokens=0),
}


def fits(answer: httpx2.Response, operation_id: str) -> None:
    response = CONTRACT.resolve(CONTRACT.operations[operation_id].spec["responses"]["200"])
    schema = response["content"]["application/json"]["schema"]
    assert answer.status_code == 200, answer.text
    assert SCHEMAS.validator(schema).error(answer.json()) is None


@pytest.mark.parametrize("request_body", REQUESTS.values(), ids=REQUESTS)
def test_messages_fit(http: httpx2.Client, request_body: dict[str, Any]) -> None:
    body = {"model": "claude-sonnet-5-5", "max_tokens": 1024, **request_body}
    fits(http.post("/v1/messages", json=body), "messages_create")
    streamed = http.post("/v1/messages", json={**body, "stream": True})
    events = [json.loads(line[6:]) for line in streamed.text.splitlines() if line.startswith("data: ")]
    assert events[-1]["type"] == "message_stop"
    assert [EVENT.error(event) for event in events] == [None] * len(events)


def test_objects_fit(http: httpx2.Client) -> None:
    params = {"model": "claude-opus-5", "max_tokens": 9, **says("Hi")}
    batch = http.post("/v1/messages/batches", json={"requests": [{"custom_id": "a", "params": params}]})
    file = http.post("/v1/files", files={"file": ("a.txt", b"x")})
    manifest = b"---\nname: a\ndescription: b\n---\n"
    skill = http.post("/v1/skills", files={"files[]": ("a/SKILL.md", manifest)})
    skill_path = f"/v1/skills/{skill.json()['id']}"
    version_path = f"{skill_path}/versions/{skill.json()['latest_version_id']}"
    for answer, operation_id in (
        (batch, "messages_batches_create"),
        (http.get("/v1/messages/batches"), "messages_batches_list"),
        (http.get(f"/v1/messages/batches/{batch.json()['id']}"), "messages_batches_retrieve"),
        (http.get("/v1/models?limit=1000"), "models_list"),
        (http.get("/v1/models/claude-opus-5"), "models_retrieve"),
        (file, "files_upload"),
        (http.get("/v1/files"), "files_list"),
        (http.get(f"/v1/files/{file.json()['id']}"), "files_retrieve_metadata"),
        (http.delete(f"/v1/files/{file.json()['id']}"), "files_delete"),
        (skill, "skills_create"),
        (http.get("/v1/skills"), "skills_list"),
        (http.get(f"{skill_path}/versions"), "skills_versions_list"),
        (http.get(version_path), "skills_versions_retrieve"),
        (http.delete(skill_path), "skills_delete"),
    ):
        fits(answer, operation_id)


def shown_requests() -> Iterator[Any]:
    for operation_id in ("messages_create", "messages_count_tokens", "messages_batches_create"):
        operation = CONTRACT.operations[operation_id]
        content = CONTRACT.resolve(operation.spec["requestBody"])["content"]["application/json"]
        for name, example in content["examples"].items():
            yield pytest.param(
                operation.path, CONTRACT.resolve(example)["value"], id=f"{operation_id}-{name}"
            )


@pytest.mark.parametrize(("path", "body"), [*shown_requests()])
def test_shown_requests_are_taken(http: httpx2.Client, path: str, body: dict[str, Any]) -> None:
    """A file that an example names is put in place by its id, since ids are made here."""
    file_id = http.post("/v1/files", files={"file": ("a.pdf", b"%PDF")}).json()["id"]
    text = json.dumps(body)
    for word in text.split('"'):
        if word.startswith("file_") and len(word) > 20:
            text = text.replace(word, file_id)
    answer = http.post(path, content=text.encode())
    assert answer.status_code == 200, answer.text


ODD: list[Any] = [None, True, -1, 0, 1e30, "", "x" * 300, "text", [], {}, [{}], [[]], [None], {"type": "x"}]


def bent(value: Any, chance: random.Random) -> Any:
    """The value with one of its parts taken away, doubled or made odd."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.15:
        return chance.choice(ODD)
    bent_value: Any = value.copy()
    key = chance.choice(list(value) if isinstance(value, dict) else range(len(value)))
    if chance.random() < 0.15:
        del bent_value[key]
    elif isinstance(value, list) and chance.random() < 0.15:
        bent_value.append(value[key])
    else:
        bent_value[key] = bent(value[key], chance)
    return bent_value


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21"])
async def test_no_odd_body_is_a_crash(version: str) -> None:
    """Whatever passes the open schema is answered or refused: 3,000 bodies, the same ones each time."""
    chance = random.Random(version)
    originals = [case.values[1] for case in shown_requests()]
    originals += [{"model": "claude-opus-4-5", "max_tokens": 3000, **body} for body in REQUESTS.values()]
    sandbox = Sandbox()
    statuses = Counter[int]()
    try:
        for _ in range(3_000):
            body = bent(chance.choice(originals), chance)
            path = b"/v1/messages" if chance.random() < 0.8 else b"/v1/messages/count_tokens"
            status = await post(sandbox, path, body, version.encode())
            assert status != 500, body
            statuses[status] += 1
    finally:
        await sandbox.close()
    assert statuses[200] > 300
    assert statuses[400] > 300


async def post(sandbox: Sandbox, path: bytes, body: Any, version: bytes) -> int:
    """The status of one call, made without a socket."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": json.dumps(body).encode()}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": path.decode(),
        "raw_path": path,
        "query_string": b"",
        "headers": [(b"x-api-key", b"any"), (b"anthropic-version", version)],
    }
    await sandbox(scope, receive, send)
    status: int = sent[0]["status"]
    return status
