"""Ids inside bodies, and ids that answers bring forth: in messages, streams, batches and threads."""

import json
import time
from typing import Any, NamedTuple

import anthropic
import pytest

from tests.support.client import Answer, Body, Headers
from tests.support.gateway import SOON, Gateway, eventually
from tests.support.walls import (
    MESSAGE,
    MODEL,
    App,
    is_missing,
    made,
    make_app,
    make_batch,
    make_skill,
    upload,
)

CODE = {"type": "code_execution_20260521", "name": "code_execution"}
CODE_RUN = {
    **MESSAGE,
    "max_tokens": 500,
    "tools": [CODE],
    "messages": [{"role": "user", "content": "Run code execution that makes a csv file"}],
}
THREADS: Headers = [("anthropic-beta", "message-threads-2026-08-12")]
CREATES = ("/v1/messages", "/api/v1/messages/create")
STREAMS = ("/v1/messages", "/api/v1/messages/stream")
COUNTS = ("/v1/messages/count_tokens", "/api/v1/messages/count-tokens")


class Tenants(NamedTuple):
    gateway: Gateway
    one: App
    two: App


@pytest.fixture(scope="module")
def tenants(sandboxed: Gateway) -> Tenants:
    return Tenants(sandboxed, make_app(sandboxed, "bodies one"), make_app(sandboxed, "bodies two"))


def say(content: list[dict[str, Any]], **members: Any) -> dict[str, Any]:
    return {**MESSAGE, "messages": [{"role": "user", "content": content}], **members}


def document(file_id: str) -> dict[str, Any]:
    return {"type": "document", "source": {"type": "file", "file_id": file_id}}


def batch_of(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"requests": [{"custom_id": f"c{n}", "params": params} for n, params in enumerate(messages)]}


def with_skill(skill_id: str, **members: Any) -> dict[str, Any]:
    skill = {"type": "custom", "skill_id": skill_id, "version": "latest"}
    return {**CODE_RUN, "container": {"skills": [skill]}, **members}


@pytest.fixture(scope="module")
def file_id(tenants: Tenants) -> str:
    """A file of the first key's."""
    return upload(tenants.one)


class TestFiles:
    @pytest.mark.parametrize("path", [*CREATES, STREAMS[1], *COUNTS])
    @pytest.mark.parametrize(
        "content",
        [
            lambda name: [document(name)],
            lambda name: [{"type": "image", "source": {"type": "file", "file_id": name}}],
            lambda name: [{"type": "container_upload", "file_id": name}],
            lambda name: [{"type": "text", "text": "a"}, document(name), {"type": "text", "text": "b"}],
        ],
        ids=["document", "image", "container_upload", "between"],
    )
    def test_of_another_key(self, tenants: Tenants, file_id: str, path: str, content: Any) -> None:
        body = say(content(file_id))
        assert is_missing(tenants.two.call("POST", path, body))
        assert is_missing(tenants.two.call("POST", path, say(content("file_unknown"))))

    @pytest.mark.parametrize("path", [*CREATES, STREAMS[1], *COUNTS])
    def test_of_ones_own(self, tenants: Tenants, file_id: str, path: str) -> None:
        body = say([document(file_id), {"type": "text", "text": "Read it"}])
        for app in (tenants.one, tenants.gateway):
            got = app.call("POST", path, body)
            assert got.status == 200, got.body

    def test_in_a_tools_result_and_behind_an_escape(self, tenants: Tenants, file_id: str) -> None:
        use = {"type": "tool_use", "id": "t1", "name": "x", "input": {}}
        result = {"type": "tool_result", "tool_use_id": "t1", "content": [document(file_id)]}
        body = {
            **MESSAGE,
            "tools": [{"name": "x", "input_schema": {"type": "object"}}],
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": [use]},
                {"role": "user", "content": [result]},
            ],
        }
        for path in CREATES:
            assert is_missing(tenants.two.call("POST", path, body))
            escaped = json.dumps(body).replace("file_id", "file\\u005fid").encode()
            headers = [("content-type", "application/json")]
            assert is_missing(tenants.two.call("POST", path, escaped, headers))

    @pytest.mark.parametrize("path", CREATES)
    def test_two_members_of_one_name_are_refused(self, tenants: Tenants, file_id: str, path: str) -> None:
        own = upload(tenants.two)
        body = json.dumps(say([document(own)])).replace(f'"{own}"', f'"{own}", "file_id": "{file_id}"')
        got = tenants.two.call("POST", path, body.encode(), [("content-type", "application/json")])
        assert got.status == 400
        assert b"duplicate key" in got.body

    @pytest.mark.parametrize("path", ["/v1/messages/batches", "/api/v1/batches/create"])
    def test_in_any_request_of_a_batch(self, tenants: Tenants, file_id: str, path: str) -> None:
        own = upload(tenants.two)
        assert is_missing(
            tenants.two.call("POST", path, batch_of(say([document(own)]), say([document(file_id)])))
        )
        made(tenants.two.call("POST", path, batch_of(say([document(own)]))))

    def test_a_models_own_words_are_no_ids_of_files(self, tenants: Tenants, file_id: str) -> None:
        use = {"type": "tool_use", "id": "t1", "name": "x", "input": {"file_id": file_id}}
        body = {
            **MESSAGE,
            "tools": [{"name": "x", "input_schema": {"type": "object"}}],
            "messages": [
                {"role": "user", "content": f"file_id is {file_id}"},
                {"role": "assistant", "content": [use]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "no"}]},
            ],
        }
        for path in CREATES:
            assert tenants.two.call("POST", path, body).status == 200
        assert is_missing(tenants.two.call("GET", f"/v1/files/{file_id}"))


class TestSkills:
    @pytest.mark.parametrize("path", CREATES)
    def test_in_a_container(self, tenants: Tenants, path: str) -> None:
        skill = make_skill(tenants.one, f"body-{'api' in path}".lower())
        assert is_missing(tenants.two.call("POST", path, with_skill(skill)))
        made(tenants.one.call("POST", path, with_skill(skill)))
        pretended = {"type": "anthropic", "skill_id": skill, "version": "latest"}
        assert is_missing(tenants.two.call("POST", path, {**CODE_RUN, "container": {"skills": [pretended]}}))
        provided = {"type": "anthropic", "skill_id": "xlsx", "version": "latest"}
        made(tenants.two.call("POST", path, {**CODE_RUN, "container": {"skills": [provided]}}))

    def test_versions_belong_to_their_skill(self, tenants: Tenants) -> None:
        skill = make_skill(tenants.one, "versioned")
        for path in (f"/v1/skills/{skill}/versions", f"/api/v1/skills/{skill}/versions"):
            version = made(tenants.one.call("GET", path))["data"][0]["id"]
            assert made(tenants.one.call("GET", f"{path}/{version}"))["id"] == version
            for below in ("", f"/{version}", f"/{version}/content"):
                assert is_missing(tenants.two.call("GET", path + below))


def message_of(answer: Answer) -> dict[str, Any]:
    """The message of an answer in any of the four forms."""
    assert answer.status == 200, answer.body
    if not (answer.header("content-type") or "").startswith("text/event-stream"):
        return made(answer)
    found: dict[str, Any] = {}
    for line in answer.body.decode().splitlines():
        event = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
        if event.get("type") == "message_start":
            found = event["message"]
        elif event.get("type") == "content_block_start":
            found["content"] = [*found["content"], event["content_block"]]
        elif event.get("type") == "message_delta":
            found |= {name: value for name, value in event["delta"].items() if value is not None}
    return found


def files_of(message: dict[str, Any]) -> list[str]:
    return [
        output["file_id"]
        for block in message["content"]
        if block["type"].endswith("code_execution_tool_result")
        for output in block["content"]["content"]
    ]


FORMS = [
    ("/v1/messages", {}),
    ("/v1/messages", {"stream": True}),
    ("/api/v1/messages/create", {}),
    ("/api/v1/messages/stream", {}),
]


class TestBroughtForth:
    @pytest.mark.parametrize(("path", "members"), FORMS)
    def test_by_a_message(self, tenants: Tenants, path: str, members: dict[str, Any]) -> None:
        message = message_of(tenants.one.call("POST", path, {**CODE_RUN, **members}))
        (file_id,) = files_of(message)
        container = message["container"]["id"]

        for files in ("/v1/files", "/api/v1/files"):
            assert tenants.one.call("GET", f"{files}/{file_id}/content").status == 200
            assert is_missing(tenants.two.call("GET", f"{files}/{file_id}/content"))
            assert file_id in [
                item["id"] for item in made(tenants.one.call("GET", f"{files}?limit=1000"))["data"]
            ]
        for named in (container, {"id": container}):
            body: Body = {**CODE_RUN, "container": named}
            assert is_missing(tenants.two.call("POST", "/v1/messages", body))
            assert is_missing(tenants.two.call("POST", "/api/v1/messages/create", body))
            assert made(tenants.one.call("POST", "/v1/messages", body))["container"]["id"] == container

    @pytest.mark.parametrize(
        "path", ["/v1/messages/batches/{}/results", "/api/v1/batches/{}/results"], ids=["native", "envelope"]
    )
    def test_by_a_batch(self, tenants: Tenants, path: str) -> None:
        created = tenants.one.call("POST", "/v1/messages/batches", batch_of(CODE_RUN, MESSAGE, CODE_RUN))
        batch = made(created)["id"]

        def results() -> Answer | None:
            got = tenants.one.call("GET", path.format(batch), headers=[("accept", "application/x-jsonl")])
            return got if got.status == 200 else None

        lines = [json.loads(line) for line in eventually(results, SOON).body.splitlines()]
        assert is_missing(tenants.two.call("GET", path.format(batch)))
        found = [name for line in lines for name in files_of(line["result"]["message"])]
        assert len(found) == 2
        for name in found:
            assert tenants.one.call("GET", f"/v1/files/{name}").status == 200
            assert is_missing(tenants.two.call("GET", f"/v1/files/{name}"))

    def test_a_history_may_name_a_file_that_is_deleted(self, tenants: Tenants) -> None:
        message = made(tenants.one.call("POST", "/v1/messages", CODE_RUN))
        (file_id,) = files_of(message)
        assert tenants.one.call("DELETE", f"/v1/files/{file_id}").status == 200
        history = [
            *CODE_RUN["messages"],  # type: ignore[misc]
            {"role": "assistant", "content": message["content"]},
            {"role": "user", "content": "Thanks"},
        ]
        made(tenants.one.call("POST", "/v1/messages", {**CODE_RUN, "messages": history}))
        assert is_missing(tenants.two.call("POST", "/v1/messages", {**CODE_RUN, "messages": history}))


class TestThreads:
    @pytest.mark.parametrize("streamed", [False, True])
    @pytest.mark.parametrize("paths", [("/v1/messages",) * 2, CREATES[1:] + STREAMS[1:]])
    def test_are_continued_by_their_key_alone(
        self, tenants: Tenants, paths: tuple[str, str], streamed: bool
    ) -> None:
        path, members = paths[streamed], ({"stream": True} if streamed and "api" not in paths[0] else {})
        first = {**MESSAGE, "thread": {"type": "create"}, **members}
        message = message_of(tenants.one.call("POST", path, first, THREADS))
        going_on = {
            **MESSAGE,
            "thread": {"type": "continue", "previous_message_id": message["id"]},
            **members,
        }

        got = tenants.two.call("POST", path, going_on, THREADS)
        assert is_missing(got)
        if path.startswith("/v1"):
            assert got.json()["error"]["details"] == {"error_code": "thread_not_found"}
        second = message_of(tenants.one.call("POST", path, going_on, THREADS))
        assert second["id"] != message["id"]

    def test_the_sdk_is_told_so_that_it_replays(self, tenants: Tenants) -> None:
        key = str(tenants.two.client.key)
        message = made(
            tenants.one.call("POST", "/v1/messages", {**MESSAGE, "thread": {"type": "create"}}, THREADS)
        )
        with (
            anthropic.Anthropic(base_url=tenants.gateway.url, api_key=key, max_retries=0) as client,
            pytest.raises(anthropic.NotFoundError) as refused,
        ):
            client.beta.messages.create(
                model=MODEL,
                max_tokens=9,
                messages=[{"role": "user", "content": "Hi"}],
                thread={"type": "continue", "previous_message_id": message["id"]},
                betas=["message-threads-2026-08-12"],
            )
        assert type(refused.value).__name__ == "ThreadNotFoundError"


@pytest.fixture(scope="module")
def scoped(sandboxed: Gateway) -> App:
    return make_app(sandboxed, "bodies scoped", ["messages"])


def test_a_key_without_the_scope_of_files_may_name_its_own(tenants: Tenants, scoped: App) -> None:
    """Scopes say which operations a key may call; the walls say what is its own."""
    message = made(scoped.call("POST", "/v1/messages", CODE_RUN))
    (file_id,) = files_of(message)
    body = {**CODE_RUN, "messages": [{"role": "user", "content": [document(file_id)]}]}
    assert scoped.call("POST", "/v1/messages", body).status != 404
    assert scoped.call("GET", f"/v1/files/{file_id}").status == 403


def test_bodies_that_name_nothing_are_not_held_up(tenants: Tenants) -> None:
    """No look into the database: a thousand blocks are walked through in well under a tenth of a second."""
    body = say([{"type": "text", "text": "x"}] * 1000)

    def seconds() -> float:
        started = time.perf_counter()
        assert tenants.one.call("POST", "/v1/messages/count_tokens", body).status == 200
        return time.perf_counter() - started

    assert min(seconds() for _ in range(3)) < 1.0


def test_a_batch_of_ones_own_is_canceled_by_nobody_else(tenants: Tenants) -> None:
    batch = make_batch(tenants.one)
    for path in (f"/v1/messages/batches/{batch}/cancel", f"/api/v1/batches/{batch}/cancel"):
        assert is_missing(tenants.two.call("POST", path))
        assert tenants.one.call("GET", path.removesuffix("/cancel")).status == 200
