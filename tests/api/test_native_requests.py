"""What a native caller sends is what upstream gets: method, raw path, query, headers, bytes of the body."""

import hashlib

import pytest
from anthropic import AsyncAnthropic

from tests.conftest import Relay
from tests.support.client import Client
from tests.support.gateway import ADMIN_KEY, UPSTREAM_ADMIN_KEY, UPSTREAM_KEY, Gateway
from tests.support.recorder import Recorder

BEGIN = b'{"model":"m","max_tokens":5,"messages":['
ODD_BODIES = {
    "whitespace": b' \n{ "model" :\t"m",\r\n"max_tokens": 5 ,"messages":[ ] }\n ',
    "escapes": BEGIN + rb'{"role":"user","content":"\u00e9 \ud83d\ude00 \/ \u0041"}]}',
    "key order": b'{"z":1,"messages":[],"a":2,"max_tokens":5,"model":"m"}',
    "big numbers": BEGIN + b'],"n":123456789012345678901234567890,"f":1.10,"e":1E5,"z":-0.0}',
    "unknown members": BEGIN
    + b'{"role":"novel","content":[{"type":"novel"}]}],"top_k":3,"novel":{"a":[null]}}',
    "unicode": BEGIN + '{"role":"user","content":"Grüße 👋 \u2028"}]}'.encode(),
    "large": BEGIN + b'{"role":"user","content":"%b"}]}' % (b"x" * 3_000_000),
}


@pytest.mark.parametrize("body", ODD_BODIES.values(), ids=ODD_BODIES)
@pytest.mark.parametrize("target", ["/v1/messages", "/v1/messages/count_tokens"])
def test_body_bytes(gateway: Gateway, upstream: Recorder, target: str, body: bytes) -> None:
    answer = gateway.call("POST", target, body, [("content-type", "application/json")])

    assert answer.status == 200, answer.body
    assert hashlib.sha256(upstream.only.body).digest() == hashlib.sha256(body).digest()
    assert upstream.only.header("content-length") == str(len(body))


@pytest.mark.parametrize(
    "target",
    [
        "/v1/models/a%2Fb",
        "/v1/models/a%2fb%20c",
        "/v1/models/gr%C3%BC%C3%9Fe",
        "/v1/models/a+b:c@d,e;f=g~h!i'j(k)*$&",
        "/v1/files/file_1/content?beta=true",
        "/v1/models?limit=20&after_id=b&after_id=a&limit=3",
        "/v1/models?",
        "/v1/models?x",
        "/v1/models?x=&=y&&z=%26+%2B",
        "/v1/organizations/usage_report/messages?api_key_ids[]=b&api_key_ids%5B%5D=a&starting_at=2026-01-01T00:00:00Z",
        "/v1/organizations/users?created_at[gte]=1&created_at[lt]=2",
    ],
)
def test_raw_target(gateway: Gateway, upstream: Recorder, target: str) -> None:
    assert gateway.call("GET", target).status == 200

    assert upstream.only.target == target.removesuffix("?")


FORWARDED = [
    ("accept", "application/json, text/event-stream;q=0.5"),
    ("content-type", "application/json; charset=utf-8"),
    ("content-type", "application/vnd.anything+json"),
    ("anthropic-version", "2026-10-21"),
    ("anthropic-user-profile-id", "profile_1"),
    ("anthropic-worker-id", "worker_1"),
    ("anthropic-workspace-id", "wrkspc_1"),
    ("x-stainless-lang", "python"),
    ("x-stainless-retry-count", "1"),
    ("x-stainless-timeout", "600"),
    ("x-stainless-helper-method", "stream"),
]


@pytest.mark.parametrize(("name", "value"), FORWARDED)
def test_header_arrives(gateway: Gateway, upstream: Recorder, name: str, value: str) -> None:
    gateway.call("POST", "/v1/messages", ODD_BODIES["unicode"], [(name, value)])

    assert upstream.only.header(name) == value


def test_every_beta_value_arrives_in_order(gateway: Gateway, upstream: Recorder) -> None:
    betas = [("anthropic-beta", "files-api-2025-04-14,novel-2031-01-01"), ("anthropic-beta", "another-one")]

    gateway.call("POST", "/v1/messages", ODD_BODIES["unicode"], betas)

    values = [value for name, value in upstream.only.headers if name == "anthropic-beta"]
    assert ",".join(values).replace(" ", "") == "files-api-2025-04-14,novel-2031-01-01,another-one"


def test_an_empty_api_key_does_not_hide_the_bearer_token(gateway: Gateway, upstream: Recorder) -> None:
    headers = [("x-api-key", ""), ("authorization", f"Bearer {ADMIN_KEY}")]

    assert gateway.call("GET", "/v1/models", headers=headers, with_key=False).status == 200

    assert _credential(upstream) == UPSTREAM_KEY


@pytest.mark.parametrize(
    "key",
    [
        ("x-api-key", ADMIN_KEY),
        ("authorization", f"Bearer {ADMIN_KEY}"),
        ("authorization", f"bearer  {ADMIN_KEY}"),
    ],
)
def test_the_callers_key_stays_here(gateway: Gateway, upstream: Recorder, key: tuple[str, str]) -> None:
    headers = [
        key,
        ("cookie", "a=b"),
        ("x-novel", "1"),
        ("x-forwarded-for", "10.1.2.3"),
        ("x-request-id", "12345678"),
    ]

    assert gateway.call("GET", "/v1/models", headers=headers, with_key=False).status == 200

    assert ADMIN_KEY.encode() not in upstream.only.head
    assert _credential(upstream) == UPSTREAM_KEY
    sent = {name for name, _ in upstream.only.headers}
    assert not sent & {"cookie", "x-novel", "x-forwarded-for", "x-request-id", "x-stainless-raw-response"}
    assert upstream.only.header("host") == upstream.url.removeprefix("http://")


def test_raw_response_header_stays_here(gateway: Gateway, upstream: Recorder) -> None:
    gateway.call("GET", "/v1/models", headers=[("x-stainless-raw-response", "true")])

    assert upstream.only.header("x-stainless-raw-response") is None


def test_organisation_calls_use_the_admin_key(gateway: Gateway, upstream: Recorder) -> None:
    assert gateway.call("GET", "/v1/organizations/users").status == 200

    assert _credential(upstream) == UPSTREAM_ADMIN_KEY


def test_version_of_the_sdk_when_the_caller_names_none(gateway: Gateway, upstream: Recorder) -> None:
    gateway.call("GET", "/v1/models")

    version = AsyncAnthropic(api_key="none").default_headers["anthropic-version"]
    assert upstream.only.header("anthropic-version") == version


def test_other_workspaces_are_for_admins(relay: Relay) -> None:
    body, headers = ODD_BODIES["unicode"], [("anthropic-workspace-id", "wrkspc_1")]

    answer = relay.kitchen.call("POST", "/v1/messages", body, headers)

    assert answer.status == 403
    assert answer.json()["error"]["type"] == "permission_error"
    assert relay.upstream.requests == []


def test_nothing_is_invented_for_a_caller(gateway: Gateway, upstream: Recorder) -> None:
    """No content type, no telemetry of our own SDK, no compression that the caller did not ask for."""
    gateway.call("GET", "/v1/models")

    sent = dict(upstream.only.headers)
    assert "content-type" not in sent
    assert not any(name.startswith("x-stainless-") for name in sent)
    assert sent["accept-encoding"] == "identity"


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_bodyless_calls_with_a_json_type(gateway: Gateway, upstream: Recorder, method: str) -> None:
    """SDKs say so on calls without a body."""
    target = "/v1/messages/batches/b/cancel" if method == "POST" else "/v1/messages/batches/b"

    assert gateway.call(method, target, headers=[("content-type", "application/json")]).status == 200

    assert upstream.only.body == b""
    assert upstream.only.header("content-type") == "application/json"


def test_multipart_arrives_byte_for_byte(gateway: Gateway, upstream: Recorder) -> None:
    kind = 'multipart/form-data; boundary="odd boundary"'
    body = (
        b'--odd boundary\r\nContent-Disposition: form-data; name="file"; filename="a b.txt"\r\n'
        b"X-Novel: 1\r\n\r\n"
    )
    body += bytes(range(256)) * 5_000 + b"\r\n--odd boundary--\r\n"

    assert gateway.call("POST", "/v1/files", body, [("content-type", kind)]).status == 200

    assert upstream.only.body == body
    assert upstream.only.header("content-type") == kind
    assert upstream.only.header("content-length") == str(len(body))


def test_chunked_bodies(gateway: Gateway, upstream: Recorder) -> None:
    """A body without a length is taken, and arrives whole."""
    body = ODD_BODIES["escapes"]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:60], body[60:]))
    headers = [("content-type", "application/json"), ("transfer-encoding", "chunked")]

    assert gateway.call("POST", "/v1/messages", chunks + b"0\r\n\r\n", headers).status == 200

    assert upstream.only.body == body


def test_chunked_upload(gateway: Gateway, upstream: Recorder) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n--b--\r\n'
    headers = [("content-type", "multipart/form-data; boundary=b"), ("transfer-encoding", "chunked")]
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(form), form)

    assert gateway.call("POST", "/v1/files", body, headers).status == 200

    assert upstream.only.body == form


def test_expect_continue(relay: Relay) -> None:
    """curl waits for 100 before it sends a large body."""
    body = ODD_BODIES["unicode"]
    request = (
        b"POST /v1/messages HTTP/1.1\r\nhost: gateway\r\nx-api-key: %b\r\nexpect: 100-continue\r\n"
        b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (ADMIN_KEY.encode(), len(body), body)
    )

    answer = Client(relay.gateway.url).raw(request)

    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")
    assert relay.upstream.only.body == body


def _credential(upstream: Recorder) -> str:
    authorization = upstream.only.header("authorization") or ""
    return upstream.only.header("x-api-key") or authorization.removeprefix("Bearer ")
