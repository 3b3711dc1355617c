"""What the envelope says to ids, cursors and forms that cannot be right: a 4xx that names the place."""

import re

import pytest

import openapi
from gateway.catalog import Catalog, Operation
from tests.conftest import Relay
from tests.support.client import Answer
from tests.support.gateway import Gateway
from tests.support.recorder import Recorder, answer

OPERATIONS = [
    operation for operation in Catalog({"envelope": openapi.load("envelope")}) if operation.tag != "system"
]
WITH_ID = [operation for operation in OPERATIONS if "{" in operation.path and not operation.request_types]


def names(operation: Operation, where: str) -> list[str]:
    return [spec["name"] for spec in operation.parameters if spec["in"] == where]


LISTS = [operation for operation in OPERATIONS if "limit" in names(operation, "query")]


def with_ids(operation: Operation, value: str) -> str:
    """The operation's path with `value` for each id."""
    return re.sub(r"\{\w+\}", value, operation.path)


def message(got: Answer) -> str:
    body = got.json()
    assert body["success"] is False
    assert body["metadata"]["error_type"]
    return str(body["error"])


with_id = pytest.mark.parametrize("operation", WITH_ID, ids=lambda operation: operation.id)
lists = pytest.mark.parametrize("operation", LISTS, ids=lambda operation: operation.id)


def test_there_is_something_to_ask() -> None:
    assert {operation.tag for operation in WITH_ID} >= {"batches", "files", "keys", "models", "skills"}
    assert {operation.tag for operation in LISTS} >= {"batches", "files", "keys", "models", "skills"}


@with_id
@pytest.mark.parametrize("value", ["a%2Fb", "a%20b", "%2F", "%E2%98%83", "a%3Fb%23c", "x" * 256])
def test_id_that_nothing_has(sandboxed: Gateway, operation: Operation, value: str) -> None:
    got = sandboxed.call(operation.method, with_ids(operation, value))

    assert got.status == 404, got.body
    assert message(got)
    assert got.json()["metadata"]["error_type"] == "NotFoundError"


@with_id
@pytest.mark.parametrize("value", ["x" * 257, "x" * 1000, "%C3%A9" * 257], ids=["257", "1000", "257 letters"])
def test_id_that_is_too_long(relay: Relay, operation: Operation, value: str) -> None:
    got = relay.gateway.call(operation.method, with_ids(operation, value))

    assert got.status == 400
    assert message(got).startswith(f"path parameter {names(operation, 'path')[0]}: ")
    assert len(message(got)) < 200
    assert relay.upstream.requests == []


@with_id
@pytest.mark.parametrize("value", ["%00", "a%00b", "a%0Ab", "a%7Fb", "%5C", "%2E%2E", "%FF"])
def test_id_that_is_no_text(relay: Relay, operation: Operation, value: str) -> None:
    got = relay.gateway.call(operation.method, with_ids(operation, value))

    assert got.status == 400
    assert re.match(r"the path |path parameter \w+: ", message(got))
    assert relay.upstream.requests == []


@lists
@pytest.mark.parametrize("limit", ["0", "-1", "1001", "1.5", "1e2", "many", "", "%20", "9" * 30, "1&limit=2"])
def test_limit_out_of_range(relay: Relay, operation: Operation, limit: str) -> None:
    got = relay.gateway.call("GET", f"{with_ids(operation, 'x')}?limit={limit}")

    assert got.status == 400
    assert message(got).startswith("query parameter limit: ")
    assert relay.upstream.requests == []


@lists
def test_unknown_cursor(sandboxed: Gateway, operation: Operation) -> None:
    for name in {"after_id", "before_id", "page"}.intersection(names(operation, "query")):
        got = sandboxed.call("GET", f"{with_ids(operation, 'xlsx')}?{name}=nothing")

        assert got.status in (400, 404), got.body
        assert name in message(got) or "nothing" in message(got)


@lists
@pytest.mark.parametrize("value", ["", "x" * 3000, "%FF"], ids=["empty", "3000", "not UTF-8"])
def test_cursor_that_is_none(relay: Relay, operation: Operation, value: str) -> None:
    for name in {"after_id", "before_id", "page"}.intersection(names(operation, "query")):
        got = relay.gateway.call("GET", f"{with_ids(operation, 'x')}?{name}={value}")

        assert got.status == 400
        assert re.match(rf"query parameter {name}: |the query is not valid UTF-8", message(got))
    assert relay.upstream.requests == []


@pytest.mark.parametrize("path", ["/api/v1/batches", "/api/v1/models"])
def test_both_cursors(sandboxed: Gateway, path: str) -> None:
    got = sandboxed.call("GET", f"{path}?after_id=a&before_id=b")

    assert got.status == 400
    assert "after_id" in message(got)


def test_results_of_a_batch_that_never_was(sandboxed: Gateway) -> None:
    got = sandboxed.call("GET", "/api/v1/batches/msgbatch_nothing/results")

    assert got.status == 404
    assert message(got) == "Message Batch not found: msgbatch_nothing"


@pytest.mark.parametrize("status", ["in_progress", "canceling", "novel"])
def test_results_of_a_batch_that_runs(gateway: Gateway, upstream: Recorder, status: str) -> None:
    missing = b'{"type":"error","error":{"type":"not_found_error","message":"no results"}}'
    upstream.script(answer(404, missing), answer(body=b'{"processing_status":"%b"}' % status.encode()))

    got = gateway.call("GET", "/api/v1/batches/b/results")

    assert got.status == 409
    assert f"(processing_status is {status})" in message(got)
    assert [request.target for request in upstream.requests] == [
        "/v1/messages/batches/b/results",
        "/v1/messages/batches/b",
    ]


@pytest.mark.parametrize(
    "found", [b'{"processing_status":"ended"}', b"{}", b"[]", b'{"processing_status":7}']
)
def test_results_that_are_gone(gateway: Gateway, upstream: Recorder, found: bytes) -> None:
    """Results are deleted after a time, batches later: then upstream's own words are the best."""
    upstream.script(answer(404, b'{"error":{"message":"archived"}}'), answer(body=found))

    got = gateway.call("GET", "/api/v1/batches/b/results")

    assert (got.status, message(got)) == (404, "archived")


FORMS = {
    "malformed": (b"--c\r\n\r\nno form of boundary b", "multipart/form-data; boundary=b"),
    "cut": (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nhalf',
        "multipart/form-data; boundary=b",
    ),
    "text where a file belongs": (
        b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\ntext\r\n--b--\r\n',
        "multipart/form-data; boundary=b",
    ),
    "no part": (b"--b--\r\n", "multipart/form-data; boundary=b"),
    "no boundary": (b"--b--\r\n", "multipart/form-data"),
    "odd boundary": (b"--b--\r\n", 'multipart/form-data; boundary="'),
    "long boundary": (b"--b--\r\n", f"multipart/form-data; boundary={'b' * 1000}"),
    "long header": (b"--b\r\nx: " + b"y" * 100_000, "multipart/form-data; boundary=b"),
    "nothing": (b"", "multipart/form-data; boundary=b"),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("target", ["files/upload", "skills"])
def test_form_is_judged_by_the_envelope(relay: Relay, name: str, target: str) -> None:
    body, kind = FORMS[name]

    got = relay.gateway.call("POST", f"/api/v1/{target}", body, [("content-type", kind)])

    assert got.status == 400, got.body
    assert re.search("multipart|boundary|part ", message(got))
    assert relay.upstream.requests == []


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("target", ["files", "skills"])
def test_form_is_relayed_natively(relay: Relay, name: str, target: str) -> None:
    """There upstream judges, in its own words."""
    body, kind = FORMS[name]
    refusal = b'{"type":"error","error":{"type":"invalid_request_error","message":"file: Field required"}}'
    relay.upstream.script(answer(400, refusal))

    got = relay.gateway.call("POST", f"/v1/{target}", body, [("content-type", kind)])

    assert (got.status, got.body) == (400, refusal)
    assert relay.upstream.only.body == body
    assert relay.upstream.only.header("content-type") == kind


@pytest.mark.parametrize(
    "kind", ["application/json", "text/plain", "application/octet-stream", "multipart/mixed"]
)
@pytest.mark.parametrize("target", ["files/upload", "skills", "skills/x/versions"])
def test_other_types_than_forms(relay: Relay, kind: str, target: str) -> None:
    got = relay.gateway.call("POST", f"/api/v1/{target}", b"{}", [("content-type", f"{kind}; boundary=b")])

    assert (got.status, message(got)) == (415, "content type must be multipart/form-data")
    assert relay.upstream.requests == []
