"""What upstream answers is what a native caller gets: status, each byte of the body, headers that matter."""

import http.client

import pytest

from tests.conftest import Relay
from tests.support.gateway import UPSTREAM_KEY, Gateway
from tests.support.recorder import CLOSE, LAST_CHUNK, Recorder, Step, answer, head, stream

MESSAGE = b'{"model":"claude-sonnet-4-20250514","max_tokens":5,"messages":[{"role":"user","content":"Hi"}]}'
CALLS = {
    "messages_create": ("POST", "/v1/messages", MESSAGE),
    "models_retrieve": ("GET", "/v1/models/m", None),
    "messages_batches_retrieve": ("GET", "/v1/messages/batches/b", None),
    "forward": ("GET", "/v1/sessions/s", None),
}
BODIES = {
    "error": b'{ "error":{"type":"capability_rejected: x","message":"\\u00fc"},"type":"error" }\n',
    "html": b"<!doctype html>\r\n<title>Bad \xff gateway</title>",
    "empty": b"",
    "cut": b'{"type":"mess',
    "duplicate": b'{"a":1,"a":2,"n":NaN,"big":123456789012345678901234567890}',
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    "status", [200, 201, 202, 400, 402, 403, 404, 405, 409, 413, 418, 422, 429, 500, 503, 529, 599]
)
def test_status_and_body(
    gateway: Gateway, upstream: Recorder, status: int, call: tuple[str, str, bytes | None]
) -> None:
    """And each is asked once: native callers retry for themselves."""
    for body in BODIES.values():
        upstream.reset()
        upstream.script(answer(status, body, kind="text/html; charset=odd"))

        got = gateway.call(*call)

        assert (got.status, got.body) == (status, body)
        assert got.header("content-type") == "text/html; charset=odd"
        assert len(upstream.requests) == 1


KEPT = [
    ("request-id", "req_upstream"),
    ("retry-after", "77"),
    ("retry-after-ms", "77001"),
    ("x-should-retry", "false"),
    ("anthropic-organization-id", "org"),
    ("anthropic-ratelimit-requests-remaining", "4"),
    ("anthropic-ratelimit-unified-status", "allowed; odd"),
    ("anthropic-novel", "a, b"),
]
DROPPED = [
    ("set-cookie", "a=b"),
    ("server", "cloudflare"),
    ("via", "1.1 somewhere"),
    ("location", "http://elsewhere"),
    ("access-control-allow-origin", "*"),
    ("strict-transport-security", "max-age=1"),
]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("status", [200, 429])
def test_headers(
    gateway: Gateway, upstream: Recorder, status: int, call: tuple[str, str, bytes | None]
) -> None:
    upstream.script(answer(status, headers=[*KEPT, *DROPPED]))

    got = gateway.call(*call)

    assert [(name, value) for name, value in got.headers if name in dict(KEPT)] == KEPT
    assert not {name for name, _ in got.headers} & dict(DROPPED).keys()
    assert got.header("x-request-id") != "req_upstream"


BODY = b'{"id":"x","text":"0123456789"}'
FRAMINGS: dict[str, list[Step]] = {
    "joined": answer(body=BODY),
    "apart": [head(200, [("content-length", str(len(BODY)))]), 0.02, BODY],
    "byte by byte": [bytes([byte]) for byte in answer(body=BODY)[0]],
    "chunked": stream(BODY[:5], BODY[5:], kind="application/json"),
    "chunked in one piece": [b"".join(stream(BODY, kind="application/json"))],
    "chunks byte by byte": [bytes([byte]) for byte in b"".join(stream(BODY, kind="application/json"))],
    "last chunk late": [*stream(BODY, kind="application/json")[:-1], 0.05, LAST_CHUNK],
    "trailers": [*stream(BODY, kind="application/json")[:-1], b"0\r\nx-sum: 1\r\n\r\n"],
    "until the end of the connection": [head(200, [("connection", "close")]), BODY, CLOSE],
    "early hints": [head(103, [("link", "</a>")]), *answer(body=BODY)],
    "continue": [b"HTTP/1.1 100 Continue\r\n\r\n", *answer(body=BODY)],
    "closing": [*answer(body=BODY, headers=[("connection", "close")]), CLOSE],
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("steps", FRAMINGS.values(), ids=FRAMINGS)
def test_framings(
    gateway: Gateway, upstream: Recorder, steps: list[Step], call: tuple[str, str, bytes | None]
) -> None:
    """Twice, since a connection that is left in a wrong state shows at its next use."""
    for _ in range(2):
        upstream.script(steps)
        got = gateway.call(*call)
        assert (got.status, got.body) == (200, BODY)


def test_idle_connection_closed_by_upstream(gateway: Gateway, upstream: Recorder) -> None:
    """A pooled connection that upstream closes while it idles is nobody's failed call."""
    for _ in range(5):
        upstream.script([*answer(body=BODY), 0.02, CLOSE])
        assert gateway.call(*CALLS["forward"]).body == BODY
    upstream.wait_for(5)


def test_head(gateway: Gateway, upstream: Recorder) -> None:
    """It is the GET without its body (RFC 9110 §9.3.2), so upstream is asked for that."""
    upstream.script(answer(body=b'{"data":[]}'))

    got = gateway.call("HEAD", "/v1/models")

    assert (got.status, got.body, got.header("content-length")) == (200, b"", "11")
    assert upstream.only.method == "GET"


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_never_followed(relay: Relay, status: int, call: tuple[str, str, bytes | None]) -> None:
    relay.upstream.script(answer(status, headers=[("location", f"{relay.upstream.url}/elsewhere")]))

    got = relay.gateway.call(*call)

    assert got.status == 502
    assert len(relay.upstream.requests) == 1
    assert got.header("location") is None
    assert b"127.0.0.1" not in got.body


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_refusal_of_our_own_credential(relay: Relay, call: tuple[str, str, bytes | None]) -> None:
    """The caller's key is fine, so it must not read that its key is wrong."""
    sample = "anthropic_gateway_upstream_credential_refused_total"
    before = relay.gateway.metric(sample)
    relay.upstream.script(answer(401, b'{"error":{"message":"invalid %b"}}' % UPSTREAM_KEY.encode()))

    got = relay.gateway.call(*call)

    assert got.status == 502
    assert got.header("x-should-retry") == "false"
    assert got.json()["error"]["type"] == "api_error"
    assert b"sk-ant" not in got.body
    assert relay.gateway.metric(sample) == before + 1


def test_download_in_pieces(gateway: Gateway, upstream: Recorder) -> None:
    data = bytes(range(256)) * 4
    upstream.script(
        answer(
            body=data,
            kind="application/pdf",
            headers=[("content-disposition", 'attachment; filename="a.pdf"')],
        )
    )

    got = gateway.call("GET", "/v1/files/f/content", headers=[("accept", "application/binary")])

    assert got.body == data
    assert got.header("content-type") == "application/pdf"
    assert got.header("content-disposition") == 'attachment; filename="a.pdf"'
    assert got.header("content-length") == str(len(data))


@pytest.mark.parametrize(
    "target", ["/v1/files/f/content", "/v1/messages/batches/b/results", "/v1/sessions/s"]
)
def test_broken_download_looks_broken(gateway: Gateway, upstream: Recorder, target: str) -> None:
    """A caller must be able to tell half a file from a whole one."""
    upstream.script([*stream(b"half", kind="application/octet-stream")[:-1], 0.05, CLOSE])

    with gateway.open("GET", target) as got:
        assert got.status == 200
        with pytest.raises(http.client.IncompleteRead):
            got.read()


def test_lines_pass_as_they_come(gateway: Gateway, upstream: Recorder) -> None:
    lines = [b'{"custom_id":"a"}\n', b'{"custom_id":', b'"b"}\n']
    upstream.script(stream(lines[0], 0.3, lines[1], 0.3, lines[2], kind="application/x-jsonl"))

    with gateway.open("GET", "/v1/messages/batches/b/results") as got:
        assert [got.chunk(), got.chunk(), got.chunk(), got.chunk()] == [*lines, b""]


def test_results_url_leads_back_here(gateway: Gateway, upstream: Recorder) -> None:
    """Only the origin is changed, and only in that member."""
    theirs = b"https://api.anthropic.com/v1/messages/batches/b/results?beta=true"
    body = b'{"id":"b", "results_url" : "%b","note":"%b","n":1.0}' % (theirs, theirs.replace(b"?", b"#"))
    upstream.script(answer(body=body))

    got = gateway.call("GET", "/v1/messages/batches/b", headers=[("host", "gateway.lan:8090")])

    assert got.body == body.replace(
        theirs, b"http://gateway.lan:8090/v1/messages/batches/b/results?beta=true"
    )
