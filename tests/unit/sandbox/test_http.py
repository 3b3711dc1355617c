"""What holds for every call: keys, headers, errors, the spec's examples, and what tests can look up."""

import hashlib
import json
from typing import Any

import anthropic
import httpx2
import pytest

from openapi import load

OPERATIONS = [
    (method, path, operation)
    for path, item in load("native")["paths"].items()
    for method, operation in item.items()
    if method in {"get", "post", "delete"} and "system" not in operation["tags"]
]


def call(base_url: str, path: str = "/v1/models", **headers: str) -> httpx2.Response:
    return httpx2.get(
        base_url + path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


def test_each_answer_names_request_organization_and_limits(http: httpx2.Client) -> None:
    first, second = http.get("/v1/models"), http.get("/v1/none")
    for answer in (first, second):
        assert answer.headers["request-id"].startswith("req_")
        assert answer.headers["anthropic-organization-id"]
        for kind in ("requests", "tokens", "input-tokens", "output-tokens"):
            for part in ("limit", "remaining", "reset"):
                assert answer.headers[f"anthropic-ratelimit-{kind}-{part}"]
    assert first.headers["request-id"] != second.headers["request-id"]
    assert second.json()["request_id"] == second.headers["request-id"]


def test_limits_count(http: httpx2.Client) -> None:
    def left() -> int:
        return int(http.get("/v1/models").headers["anthropic-ratelimit-requests-remaining"])

    first, second = left(), left()
    assert second in {first - 1, 49_999}  # a new minute may begin in between


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ({}, 401, "x-api-key header is required"),
        ({"x_api_key": ""}, 401, "x-api-key header is required"),
        ({"x_api_key": "invalid"}, 401, "invalid x-api-key"),
        ({"authorization": "Bearer invalid"}, 401, "Invalid bearer token"),
        ({"authorization": "Basic eDp5"}, 401, "x-api-key header is required"),
        ({"x_api_key": "any"}, 400, "anthropic-version: header is required"),
        (
            {"x_api_key": "any", "anthropic_version": "new"},
            400,
            'anthropic-version: "new" is not a valid version',
        ),
        ({"x_api_key": "any", "anthropic_version": "2023-06-01"}, 200, None),
        ({"authorization": "Bearer any", "anthropic_version": "2026-10-21"}, 200, None),
    ],
)
def test_keys_and_version(base_url: str, headers: dict[str, str], status: int, message: str | None) -> None:
    answer = call(base_url, **headers)
    assert answer.status_code == status
    if message is not None:
        assert answer.json()["error"]["message"] == message


def test_unknown_path_and_method(http: httpx2.Client) -> None:
    for path in ("/v1/none", "/", "/v1/messages/", "/v1//models", "/api/hello"):
        missing = http.get(path)
        assert missing.status_code == 404
        assert missing.json()["error"] == {"type": "not_found_error", "message": "Not found"}
    wrong = http.put("/v1/files/x")
    assert wrong.status_code == 405
    assert wrong.headers["allow"] == "DELETE, GET"
    assert wrong.json()["error"]["type"] == "invalid_request_error"
    assert http.head("/v1/models").status_code == 405
    assert http.head("/api/hello").status_code == 404


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"a": NaN}', b'"x"'])
def test_body_must_be_a_json_object(http: httpx2.Client, content: bytes) -> None:
    for path in ("/v1/messages", "/v1/messages/count_tokens", "/v1/messages/batches"):
        answer = http.post(path, content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_too_large(http: httpx2.Client) -> None:
    answer = http.post("/v1/messages", content=b" " * (32 * 1024**2 + 1))
    assert answer.status_code == 413
    assert answer.json()["error"]["type"] == "request_too_large"


def test_escaped_ids_reach_their_route(http: httpx2.Client) -> None:
    answer = http.get("/v1/models/a%2Fb")
    assert answer.json()["error"]["message"] == "model: a/b"


def name_of(value: object) -> str:
    return value if isinstance(value, str) else ""


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=name_of)
def test_every_operation_answers(
    http: httpx2.Client, method: str, path: str, operation: dict[str, Any]
) -> None:
    """Not one is missing: what keeps no state answers its example, the rest may know no such id."""
    json_headers = {"content-type": "application/json"}
    content = {"content": b"{}", "headers": json_headers} if method == "post" else {}
    answer = http.request(method.upper(), "/v1" + path.replace("{", "").replace("}", ""), **content)
    stateful = operation["tags"][0] in {"messages", "batches", "models", "files", "skills"}
    assert answer.status_code in ({200, 400, 404} if stateful else {200})
    if answer.headers["content-type"] == "application/json":
        assert isinstance(answer.json(), dict)
    elif answer.headers["content-type"].startswith("text/event-stream"):
        assert answer.text.startswith("event: ")
    if not stateful and method == "post":
        refused = http.post(str(answer.url), content=b"[]", headers=json_headers)
        assert refused.status_code == 400


def test_requests_can_be_looked_up(http: httpx2.Client) -> None:
    http.delete("/_sandbox/requests")
    sent = json.dumps({"model": "claude-opus-5", "messages": []}).encode()
    http.post(
        "/v1/messages?beta=true&x=%2F", content=sent, headers={"X-Thing": "a", "anthropic-beta": "one,two"}
    )
    found = http.get("/_sandbox/requests").json()
    (record,) = found["requests"]
    assert found["count"] == 1
    assert (record["method"], record["raw_path"], record["raw_query"]) == (
        "POST",
        "/v1/messages",
        "beta=true&x=%2F",
    )
    assert ["x-thing", "a"] in record["headers"]
    assert ["anthropic-beta", "one,two"] in record["headers"]
    assert record["body_sha256"] == hashlib.sha256(sent).hexdigest()
    assert (record["body_bytes"], record["status"]) == (len(sent), 400)
    assert record["finished_after"] >= 0
    assert record["caller_left_after"] is None


def test_the_ring_is_bounded(http: httpx2.Client) -> None:
    for _ in range(60):
        http.get("/v1/none")
    assert len(http.get("/_sandbox/requests").json()["requests"]) == 50


def test_health_needs_no_key(base_url: str) -> None:
    assert call(base_url, "/_sandbox/health").json() == {"status": "healthy"}


def test_sdk_calls_without_state(client: anthropic.Anthropic) -> None:
    session = client.beta.sessions.retrieve("sesn_x")
    assert session.id
    assert client.beta.agents.list().data
