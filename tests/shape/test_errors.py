"""Each source of an error in each dialect: the same two shapes, to the letter, and nothing of the inside."""

import json
import re
from dataclasses import dataclass, field

import pytest

from gateway.errors import error_class, error_type
from tests.conftest import RELAY_TIMEOUT, Relay
from tests.support.client import Answer, Headers
from tests.support.gateway import UPSTREAM_KEY
from tests.support.recorder import CLOSE, Step, answer, head

MESSAGE = b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}]}'
JSON = ("content-type", "application/json")
FORM = ("content-type", "multipart/form-data; boundary=b")
MESSAGES = {"native": "/v1/messages", "envelope": "/api/v1/messages/create"}
UPLOADS = {"native": "/v1/files", "envelope": "/api/v1/files/upload"}
PREFIXES = {"native": "/v1", "envelope": "/api/v1"}
LEAKS = re.compile(
    rb"Traceback|File \"|\.py|127\.0\.0\.1|localhost|sk-ant|sk-gw|aiohttp|Connexion|connexion|0x[0-9a-f]{8}"
)


@dataclass(frozen=True)
class Case:
    """A request that must fail, and how. `target` has a path for each dialect in which it can be made."""

    status: int
    message: str
    target: dict[str, str] = field(default_factory=lambda: MESSAGES)
    method: str = "POST"
    body: bytes | None = MESSAGE
    headers: Headers = (JSON,)
    upstream: tuple[Step, ...] | None = None
    expected: Headers = ()
    caller: str = "admin"


def everywhere(path: str) -> dict[str, str]:
    return {dialect: prefix + path for dialect, prefix in PREFIXES.items()}


def broken(body: bytes, message: str) -> Case:
    return Case(400, f"the body is not valid JSON: {message}", body=body)


def violation(body: bytes, message: str) -> Case:
    return Case(400, message, {"envelope": MESSAGES["envelope"]}, body=body)


def form(*lines: bytes) -> bytes:
    return b"\r\n".join(lines)


CASES: dict[str, Case] = {
    # the path
    "unknown path": Case(
        404, "there is nothing at this path.*", everywhere("/nothing"), "GET", None, caller="kitchen"
    ),
    "a base URL that ends in a prefix": Case(
        404,
        "the base URL of an SDK is the gateway's address alone: it adds /v1 by itself",
        {"native": "/v1/v1/messages", "envelope": "/api/v1/v1/messages"},
    ),
    "unknown method": Case(
        405,
        "method PUT is not allowed here, only GET, HEAD, POST",
        {"native": "/v1/messages/batches"},
        "PUT",
        expected=[("allow", "GET, HEAD, POST")],
    ),
    "unknown method of the envelope": Case(
        405,
        "method POST is not allowed here, only GET, HEAD",
        {"envelope": "/api/v1/batches"},
        expected=[("allow", "GET, HEAD")],
    ),
    "another method of HTTP": Case(
        405, "method TRACE is not allowed here, only POST", MESSAGES, "TRACE", None
    ),
    "HEAD of a stream": Case(
        405, "", {"native": "/v1/files/f/content", "envelope": "/api/v1/files/f/content"}, "HEAD", None
    ),
    "half a path": Case(404, "there is nothing at this path.*", {"envelope": "/console"}, "GET", None),
    "dot segments": Case(400, "the path has .*", everywhere("/files/../organizations/users"), "GET", None),
    "encoded dots": Case(400, "the path has .*", everywhere("/files/%2e%2E/models"), "GET", None),
    "one dot": Case(400, "the path has .*", everywhere("/./models"), "GET", None),
    "empty segment": Case(400, "the path has .*", everywhere("//models"), "GET", None),
    "slash at the end": Case(400, "the path has .*", everywhere("/models/"), "GET", None),
    "two slashes first": Case(400, "the path has .*", {"envelope": "//v1/models"}, "GET", None),
    "backslash": Case(400, "the path has .*", everywhere("/files/..%5Cmodels"), "GET", None),
    "NUL": Case(400, "the path has .*", everywhere("/models/a%00b"), "GET", None),
    "line feed": Case(400, "the path has .*", everywhere("/models/a%0Ab"), "GET", None),
    "path that is not UTF-8": Case(
        400, "path parameter model_id: not UTF-8", everywhere("/models/%FF"), "GET", None
    ),
    # the key
    "no key": Case(
        401,
        "a valid key is required, as x-api-key or as Authorization: Bearer",
        expected=[("www-authenticate", 'Bearer realm="anthropic-gateway"')],
        caller="nobody",
    ),
    "wrong key": Case(
        401,
        ".*",
        headers=[JSON, ("authorization", "Bearer sk-gw-wrong")],
        expected=[("www-authenticate", 'Bearer realm="anthropic-gateway"')],
        caller="nobody",
    ),
    "key that is no text": Case(401, ".*", headers=[JSON, ("x-api-key", "\xff\xfe")], caller="nobody"),
    "basic credentials": Case(401, ".*", headers=[JSON, ("authorization", "Basic eDp5")], caller="nobody"),
    "no key, no such path": Case(401, ".*", {"native": "/v1/nothing"}, "GET", None, caller="nobody"),
    "no scope": Case(
        403, "this key lacks the scope models", everywhere("/models"), "GET", None, caller="kitchen"
    ),
    # the head
    "unacceptable": Case(
        406,
        "this operation answers with application/json",
        {"envelope": MESSAGES["envelope"]},
        headers=[JSON, ("accept", "text/html")],
    ),
    "no page for a stream": Case(
        406,
        "this operation answers with text/event-stream",
        {"envelope": "/api/v1/messages/stream"},
        headers=[JSON, ("accept", "text/html")],
    ),
    "media type": Case(
        415, "content type must be application/json", headers=[("content-type", "text/plain")]
    ),
    "form for JSON": Case(415, "content type must be application/json", headers=[FORM]),
    "charset": Case(
        415, "JSON is sent as UTF-8", headers=[("content-type", "application/json; charset=latin1")]
    ),
    "compressed": Case(415, "compressed bodies .*", headers=[JSON, ("content-encoding", "gzip")]),
    "JSON for a form": Case(415, "content type must be multipart/form-data", UPLOADS, body=b"{}"),
    "no type for a form": Case(
        415, "content type must be multipart/form-data", UPLOADS, body=b"{}", headers=[]
    ),
    "length": Case(413, "the body is larger than 32 MB", headers=[JSON, ("content-length", "32000001")]),
    "length of a batch": Case(
        413,
        "the body is larger than 256 MB",
        {"native": "/v1/messages/batches", "envelope": "/api/v1/batches/create"},
        headers=[JSON, ("content-length", "256000001")],
    ),
    "length of a file": Case(
        413, "the body is larger than 501 MB", UPLOADS, headers=[FORM, ("content-length", "501000001")]
    ),
    # the body
    "too large while reading": Case(
        413,
        "the body is larger than 32 MB",
        body=b"%x\r\n%b\r\n0\r\n\r\n" % (32_000_001, b" " * 32_000_001),
        headers=[JSON, ("transfer-encoding", "chunked")],
    ),
    "empty body": Case(400, "the body must not be empty", body=b""),
    "no body": Case(400, "the body must not be empty", body=None, headers=[]),
    "not JSON": broken(b"{nothing", ".*"),
    "cut JSON": broken(MESSAGE[:-2], ".*"),
    "more after the end": broken(MESSAGE + b"{}", ".*"),
    "not UTF-8": broken(MESSAGE.replace(b"Hi", b"\xff\xfe"), ".*"),
    "UTF-16": broken(MESSAGE.decode().encode("utf-16"), ".*"),
    "byte order mark": broken(b"\xef\xbb\xbf" + MESSAGE, ".*"),
    "NaN": broken(MESSAGE.replace(b"5", b"NaN"), ".*"),
    "Infinity": broken(MESSAGE.replace(b"5", b"-Infinity"), ".*"),
    "1e400": broken(MESSAGE.replace(b"5", b"1e400"), "a number is out of range"),
    "1e400 deep inside": broken(MESSAGE.replace(b'"Hi"', b'[{"a":[-1e999]}]'), "a number is out of range"),
    "lone surrogate": broken(MESSAGE.replace(b"Hi", rb"\ud800"), ".*"),
    "lone surrogate in a name": broken(MESSAGE[:-1] + rb',"\udfff":1}', ".*"),
    "reversed surrogates": broken(MESSAGE.replace(b"Hi", rb"\udc00\ud800"), ".*"),
    "duplicate name": broken(MESSAGE[:-1] + b',"model":"dear-secret"}', "duplicate key at line 1 column .*"),
    "duplicate name by escapes": broken(MESSAGE[:-1] + rb',"\u006dodel":"dear"}', "duplicate key .*"),
    "duplicate name deep inside": broken(MESSAGE.replace(b'"Hi"', b'[{"a":1,"a":2}]'), "duplicate key .*"),
    "control character": broken(MESSAGE.replace(b"Hi", b"a\x00b"), ".*"),
    "nesting": broken(MESSAGE.replace(b'"Hi"', b"[" * 100_000), ".*"),
    "body that is no object": Case(400, "the body must be a JSON object|/?: .*|must be .*", body=b"[]"),
    "model that is no text": Case(400, "/model: must be .*string.*", body=MESSAGE.replace(b'"m"', b"7")),
    "max_tokens that is no number": Case(
        400, "/max_tokens: must be .*integer.*", body=MESSAGE.replace(b"5", b'"5"')
    ),
    "max_tokens true": Case(400, "/max_tokens: must be .*integer.*", body=MESSAGE.replace(b"5", b"true")),
    "stream that is no boolean": Case(400, "/stream: must be .*", body=MESSAGE[:-1] + b',"stream":"yes"}'),
    "missing member": violation(b'{"model":"m"}', "'messages' is a required property"),
    "deep violation": violation(
        MESSAGE.replace(b'"Hi"', b'[{"type":"text"}]'), "/messages/0/content/0: 'text' is a required property"
    ),
    "stream on create": violation(MESSAGE[:-1] + b',"stream":true}', "/stream: .*"),
    "unknown parameter": Case(
        400, "query parameter novel: unknown", {"envelope": "/api/v1/models?novel=1"}, "GET", None
    ),
    "parameter out of range": Case(
        400, "query parameter limit: .*", {"envelope": "/api/v1/models?limit=1001"}, "GET", None
    ),
    "parameter twice": Case(
        400, "query parameter limit: given twice", {"envelope": "/api/v1/models?limit=1&limit=2"}, "GET", None
    ),
    "parameter that is no number": Case(
        400, "query parameter limit: .*", {"envelope": "/api/v1/models?limit=1.5"}, "GET", None
    ),
    "query that is not UTF-8": Case(
        400, "the query is not valid UTF-8", {"envelope": "/api/v1/models?after_id=%FF"}, "GET", None
    ),
    # forms, where the spec judges
    "no boundary": Case(
        400,
        "multipart/form-data needs a boundary in Content-Type",
        {"envelope": UPLOADS["envelope"]},
        headers=[("content-type", "multipart/form-data")],
    ),
    "no form at all": Case(
        400, "the body is not valid multipart/form-data.*", {"envelope": UPLOADS["envelope"]}, headers=[FORM]
    ),
    "text where a file belongs": Case(
        400,
        "part file: must be a file, with a filename",
        {"envelope": UPLOADS["envelope"]},
        body=form(b"--b", b'Content-Disposition: form-data; name="file"', b"", b"text", b"--b--", b""),
        headers=[FORM],
    ),
    "another part": Case(
        400,
        "part file: is required",
        {"envelope": UPLOADS["envelope"]},
        body=form(
            b"--b", b'Content-Disposition: form-data; name="x"; filename="f"', b"", b"text", b"--b--", b""
        ),
        headers=[FORM],
    ),
    "form that breaks off": Case(
        400,
        "the body is not valid multipart/form-data: it breaks off",
        {"envelope": UPLOADS["envelope"]},
        body=form(b"--b", b'Content-Disposition: form-data; name="file"; filename="f"', b"", b"text"),
        headers=[FORM],
    ),
    # upstream
    "upstream's refusal": Case(
        404,
        "model: m",
        {"envelope": MESSAGES["envelope"]},
        upstream=tuple(answer(404, b'{"error":{"message":"model: m"}}')),
    ),
    "upstream's page": Case(
        418,
        "upstream answered with status 418",
        {"envelope": MESSAGES["envelope"]},
        upstream=tuple(answer(418, b'<h1>File "x.py"</h1>', kind="text/html")),
    ),
    "upstream refuses our key": Case(
        502,
        "Anthropic refused the gateway's own credential; the operator must check it",
        upstream=tuple(answer(401, b'{"error":{"message":"%b"}}' % UPSTREAM_KEY.encode())),
        expected=[("x-should-retry", "false")],
    ),
    "upstream redirects": Case(
        502,
        r"upstream answered with a redirect \(status 307\), which is never followed",
        upstream=tuple(answer(307, headers=[("location", "http://127.0.0.1/")])),
    ),
    "upstream is silent": Case(
        504, r"upstream did not answer in time \(ANTHROPIC_TIMEOUT\)", upstream=(RELAY_TIMEOUT + 1,)
    ),
    "upstream drops the connection": Case(502, "the connection to upstream failed .*", upstream=(CLOSE,)),
    "upstream speaks no HTTP": Case(
        502, "the connection to upstream failed .*", upstream=(b"hello\r\n\r\n", CLOSE)
    ),
    "upstream's head is odd": Case(
        502, "the connection to upstream failed .*", upstream=(head(200, [("content-length", "-1")]), CLOSE)
    ),
    "upstream's answer breaks off": Case(
        502,
        "the connection to upstream failed .*",
        upstream=(head(200, [("content-length", "9"), JSON]) + b"{", CLOSE),
    ),
    "upstream's answer is no JSON": Case(
        502,
        "upstream answered with something that is not JSON",
        {"envelope": MESSAGES["envelope"]},
        upstream=tuple(answer(200, b"<!doctype html>", kind="text/html")),
    ),
}
DIALECTS = [(name, dialect) for name, case in CASES.items() for dialect in case.target]


@pytest.mark.parametrize(("name", "dialect"), DIALECTS, ids=[" - ".join(pair) for pair in DIALECTS])
def test_error(relay: Relay, name: str, dialect: str) -> None:
    case = CASES[name]
    steps = case.upstream
    if steps is not None:
        relay.upstream.reply = lambda _: steps

    got = call(relay, case, dialect)

    assert got.status == case.status, got.body
    for header, value in case.expected:
        assert got.header(header) == value
    if case.method != "HEAD":
        assert_shape(got, dialect)
        assert re.fullmatch(case.message, message(got, dialect)), message(got, dialect)
    if steps is None:
        assert relay.upstream.requests == []


def call(relay: Relay, case: Case, dialect: str) -> Answer:
    client = relay.kitchen if case.caller == "kitchen" else relay.gateway
    target = case.target[dialect]
    return client.call(case.method, target, case.body, case.headers, with_key=case.caller != "nobody")


def assert_shape(got: Answer, dialect: str) -> None:
    """The exact members in their order, in one compact line, that name nothing of the inside."""
    request_id = got.header("x-request-id")
    assert got.header("content-type") == "application/json"
    assert re.fullmatch(r"req_[0-9a-f]{24}", request_id or "")
    said = message(got, dialect)
    assert said
    assert "\n" not in said
    assert len(said) < 300
    body: dict[str, object]
    if dialect == "native":
        body = {
            "type": "error",
            "error": {"type": error_type(got.status), "message": said},
            "request_id": request_id,
        }
    else:
        body = {
            "success": False,
            "error": said,
            "metadata": {"error_type": error_class(got.status), "request_id": request_id},
        }
    assert got.body == json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    assert LEAKS.search(got.body) is None


def message(got: Answer, dialect: str) -> str:
    body = got.json()
    return str(body["error"]["message"] if dialect == "native" else body["error"])


@pytest.mark.parametrize(
    ("status", "kind", "name"),
    [
        (400, "invalid_request_error", "BadRequestError"),
        (401, "authentication_error", "AuthenticationError"),
        (402, "billing_error", "PaymentRequiredError"),
        (403, "permission_error", "PermissionDeniedError"),
        (404, "not_found_error", "NotFoundError"),
        (405, "invalid_request_error", "BadRequestError"),
        (406, "invalid_request_error", "BadRequestError"),
        (409, "conflict_error", "ConflictError"),
        (413, "request_too_large", "ContentTooLargeError"),
        (415, "invalid_request_error", "BadRequestError"),
        (418, "invalid_request_error", "APIError"),
        (422, "invalid_request_error", "UnprocessableEntityError"),
        (429, "rate_limit_error", "RateLimitError"),
        (500, "api_error", "InternalServerError"),
        (502, "api_error", "InternalServerError"),
        (503, "api_error", "ServiceUnavailableError"),
        (504, "timeout_error", "GatewayTimeoutError"),
        (529, "overloaded_error", "OverloadedError"),
    ],
)
def test_names_of_statuses(relay: Relay, status: int, kind: str, name: str) -> None:
    """The contract's own table, beside the one in the code."""
    assert (error_type(status), error_class(status)) == (kind, name)
    if status not in (401, 502):
        relay.upstream.reply = lambda _: answer(status, headers=[("x-should-retry", "false")])
        got = relay.gateway.call("POST", MESSAGES["envelope"], MESSAGE, [JSON])
        assert got.json()["metadata"]["error_type"] == name


@pytest.mark.parametrize("dialect", MESSAGES)
def test_refused_connection(relay: Relay, dialect: str) -> None:
    with relay.upstream.refusing():
        got = relay.gateway.call("POST", MESSAGES[dialect], MESSAGE, [JSON])

    assert got.status == 502
    assert_shape(got, dialect)


@pytest.mark.parametrize("dialect", MESSAGES)
def test_request_id_of_the_caller(relay: Relay, dialect: str) -> None:
    own = "my-own_id.1234567"

    got = relay.gateway.call("POST", MESSAGES[dialect], b"{", [JSON, ("x-request-id", own)])

    assert got.header("x-request-id") == own
    body = got.json()
    assert (body["request_id"] if dialect == "native" else body["metadata"]["request_id"]) == own


HOSTILE: dict[str, bytes] = {
    "not HTTP": b"hello\r\n\r\n",
    "lone CR in a header": b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-a: b\rx-api-key: c\r\n\r\n",
    "NUL in a header": b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-a: b\x00c\r\n\r\n",
    "NUL in the target": b"GET /v1/mod\x00els HTTP/1.1\r\nhost: x\r\n\r\n",
    "space in a name": b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx a: b\r\n\r\n",
    "no name": b"GET /v1/models HTTP/1.1\r\nhost: x\r\n: b\r\n\r\n",
    "two lengths": b"POST /v1/messages HTTP/1.1\r\nhost: x\r\n"
    b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "length and chunks": b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n"
    b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "length that is no number": b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: two\r\n\r\n{}",
    "chunk size that is no number": b"POST /v1/messages HTTP/1.1\r\nhost: x\r\n"
    b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "endless header": b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-a: " + b"a" * 300_000,
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_http_never_gets_far(relay: Relay, data: bytes) -> None:
    """Refused by the server itself, and the next caller does not notice."""
    got = relay.gateway.raw(data, timeout=0.5)

    assert not got.startswith(b"HTTP/1.1 2")
    assert LEAKS.search(got) is None
    assert relay.upstream.requests == []
    assert relay.gateway.call("GET", "/health/live").status == 200


def test_absolute_target(relay: Relay) -> None:
    """A target that is a whole address, as a proxy's clients send it, is refused in the path's words."""
    got = relay.gateway.raw(
        b"GET http://elsewhere/v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )

    assert got.split(b" ")[1] in (b"400", b"401", b"404")
    assert relay.upstream.requests == []


@pytest.mark.parametrize("target", [b"*", b"models", b"?x", b"\xff\xfe"])
def test_target_that_is_no_path(relay: Relay, target: bytes) -> None:
    got = relay.gateway.raw(b"GET %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % target, timeout=1.0)

    assert got == b"" or got.split(b" ")[1] in (b"400", b"404")
    assert LEAKS.search(got) is None


@pytest.mark.parametrize("status", [100, 199, 204, 205, 304, 999])
def test_odd_statuses_of_upstream(relay: Relay, status: int) -> None:
    """Whatever upstream says, the caller gets an answer of HTTP, and the gateway lives."""
    relay.upstream.reply = lambda _: [head(status, [("content-length", "0"), ("connection", "close")]), CLOSE]

    for dialect, target in MESSAGES.items():
        got = relay.gateway.call("POST", target, MESSAGE, [JSON])
        assert 200 <= got.status <= 599
        if got.status >= 500:
            assert_shape(got, dialect)


ODD_ANSWERS = [
    b'{"id":[],"usage":{"input_tokens":"many","output_tokens":{}},"model":{"a":1},"data":[1,null,{"id":7}]}',
    b'{"usage":{"iterations":[1,null,{}],"cache_creation":7,"server_tool_use":[],"service_tier":{}},"model":[]}',
    b'{"usage":[],"stop_reason":{"a":[]},"data":{"results_url":7}}',
    b'{"results_url":{},"id":null,"usage":{"input_tokens":-1,"output_tokens":1e9,"speed":[]}}',
    rb'{"id":"\ud800","type":"message","role":"assistant","model":"claude-opus-4-8","stop_reason":"end_turn",'
    rb'"content":[{"type":"text","text":"\ud800","citations":null}],"stop_sequence":null,"container":null,'
    rb'"usage":{"input_tokens":7,"output_tokens":1}}',
    b"[]",
    b'"text"',
]


@pytest.mark.parametrize("odd", ODD_ANSWERS)
def test_answers_that_no_code_foresaw(relay: Relay, odd: bytes) -> None:
    """They pass on, and the books are closed on them."""
    relay.upstream.reply = lambda _: answer(200, odd)

    for method, target in (
        ("POST", "/v1/messages"),
        ("POST", "/api/v1/messages/create"),
        ("GET", "/v1/messages/batches"),
        ("GET", "/api/v1/batches"),
    ):
        got = relay.gateway.call(method, target, MESSAGE if method == "POST" else None, [JSON])
        assert got.status == 200, got.body
        line = relay.gateway.request_line(got.header("x-request-id"))
        assert line["status_code"] == 200
