"""What coding agents ask of a gateway in their own way to Anthropic.

The contract is that of https://code.claude.com/docs/en/llm-gateway-protocol: pass on what you do not know.
"""

import json
import re
import time

import pytest

from tests.support.client import Client, Headers
from tests.support.gateway import ADMIN_KEY, Gateway
from tests.support.recorder import Gate, Recorder, answer, stream
from tests.support.transcripts import PING, SHORT, event

ATTRIBUTION = "x-anthropic-billing-header: cc_version=9.9.9; cc_entrypoint=cli; cch=1a2b3;"
REQUEST = json.dumps(
    {
        "model": "claude-novel-9[1m]",
        "max_tokens": 32_000,
        "stream": True,
        "system": [
            {"type": "text", "text": ATTRIBUTION},
            {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "scope": "novel"}},
        ],
        "tools": [
            {"name": "Bash", "input_schema": {"type": "object"}, "eager_input_streaming": True, "novel": 1},
            {"type": "novel_tool_20310101", "name": "novel", "defer_loading": True},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "novel_block", "data": [None, 1.10]}]},
            {"role": "system", "content": "novel role"},
        ],
        "thinking": {"type": "novel"},
        "context_management": {"edits": [{"type": "novel_20310101", "keep": {"type": "all"}}]},
        "output_config": {"effort": "novel"},
        "metadata": {"user_id": '{"device_id":"d","session_id":"s"}'},
        "novel_member": {"novel": True},
    },
    indent=1,
).encode()
BETAS = [
    ("anthropic-beta", "claude-code-20250219,novel-2031-01-01"),
    ("anthropic-beta", "interleaved-thinking-2025-05-14"),
    ("anthropic-beta", "another_one"),
]
OWN_HEADERS = [
    ("x-claude-code-session-id", "00000000-0000-4000-8000-000000000000"),
    ("x-claude-code-agent-id", "agent"),
    ("x-claude-code-parent-agent-id", "parent"),
    ("x-claude-code-request-class", "foreground"),
    ("x-claude-code-compaction", "true"),
]
AGENT = [
    ("content-type", "application/json"),
    ("anthropic-version", "2031-01-01"),
    ("anthropic-dangerous-direct-browser-access", "true"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("user-agent", "claude-cli/9.9.9 (external, cli)"),
    ("x-app", "cli"),
]
KEYS: dict[str, Headers] = {
    "x-api-key": [("x-api-key", ADMIN_KEY)],
    "bearer": [("authorization", f"Bearer {ADMIN_KEY}")],
    "both": [("x-api-key", ADMIN_KEY), ("authorization", f"Bearer {ADMIN_KEY}")],
}

keys = pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)


@keys
@pytest.mark.parametrize("target", ["/v1/messages?beta=true", "/v1/messages/count_tokens?beta=true"])
def test_request_arrives_as_it_was_sent(
    gateway: Gateway, upstream: Recorder, target: str, key: Headers
) -> None:
    got = gateway.call("POST", target, REQUEST, [*key, *AGENT, *BETAS, *OWN_HEADERS], with_key=False)

    assert got.status == 200, got.body
    sent = upstream.only
    assert (sent.method, sent.target, sent.body) == ("POST", target, REQUEST)
    assert sent.header("anthropic-version") == "2031-01-01"
    betas = ",".join(value for name, value in sent.headers if name == "anthropic-beta")
    assert re.split(r",\s*", betas) == [
        "claude-code-20250219",
        "novel-2031-01-01",
        "interleaved-thinking-2025-05-14",
        "another_one",
    ]


def test_headers_of_the_tool_itself_do_no_harm(gateway: Gateway, upstream: Recorder) -> None:
    """They are for whoever accounts for the costs; upstream gets only what it documents."""
    got = gateway.call("POST", "/v1/messages?beta=true", REQUEST, [*AGENT, *OWN_HEADERS])

    assert got.status == 200
    sent = {name for name, _ in upstream.only.headers}
    assert sent.isdisjoint(name for name, _ in OWN_HEADERS)


def test_attribution_stays_the_first_block_of_system(gateway: Gateway, upstream: Recorder) -> None:
    gateway.call("POST", "/v1/messages?beta=true", REQUEST, AGENT)

    system = upstream.only.json()["system"]
    assert system[0] == {"type": "text", "text": ATTRIBUTION}
    assert len(system) == 2


def test_pings_and_comments_pass_as_they_come(gateway: Gateway, upstream: Recorder) -> None:
    novel = b"event: novel\nid: 7\nretry: 10\ndata: {\ndata: }\n\n"
    parts = [event(SHORT[0]), event(PING), b": comment\n\n", b":\n\n", novel, event(PING)]
    gates = [Gate() for _ in parts]
    steps = [step for part, gate in zip(parts, gates, strict=True) for step in (part, gate)]
    upstream.script(stream(*steps))

    with gateway.open("POST", "/v1/messages?beta=true", REQUEST, AGENT) as got:
        for part, gate in zip(parts, gates, strict=True):
            assert got.chunk() == part
            gate.open()
        assert got.read() == b""


ERRORS = {
    "capability": (
        400,
        b'{"type":"error", "error":{"type":"invalid_request_error",'
        b'"message":"capability_rejected: x \\u2014 \xe2\x80\x94 see \\/docs"},"request_id":"req_1" }\n',
    ),
    "prompt too long": (
        400,
        b'{"type":"error","error":{"type":"invalid_request_error",'
        b'"message":"prompt is too long: 209000 tokens > 200000 maximum"}}',
    ),
    "request too large": (413, b'{"error":{"type":"request_too_large","message":"x"},"type":"error"}'),
    "overloaded": (
        529,
        b'{"type":"error","error":{"details":null,"type":"overloaded_error","message":"Overloaded"}}',
    ),
    "no JSON": (502, b"<html>\r\n<center>cloudflare</center>\xff"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_come_back_to_the_letter(gateway: Gateway, upstream: Recorder, name: str) -> None:
    """Tools decide by the wording whether to try again, and with what."""
    status, body = ERRORS[name]
    upstream.script(answer(status, body, kind="application/json; charset=odd"))

    got = gateway.call("POST", "/v1/messages?beta=true", REQUEST, AGENT)

    assert (got.status, got.body) == (status, body)
    assert got.header("content-type") == "application/json; charset=odd"
    assert len(upstream.requests) == 1


UNIFIED = [
    ("retry-after", "17"),
    ("x-should-retry", "true"),
    ("anthropic-ratelimit-unified-status", "rejected"),
    ("anthropic-ratelimit-unified-reset", "1798761600"),
    ("anthropic-ratelimit-unified-representative-claim", "five_hour"),
    ("anthropic-ratelimit-unified-overage-status", "rejected"),
    ("anthropic-organization-id", "org"),
    ("request-id", "req_upstream"),
]


@pytest.mark.parametrize("status", [200, 429, 529])
def test_limits_come_back(gateway: Gateway, upstream: Recorder, status: int) -> None:
    upstream.script(answer(status, headers=UNIFIED))

    got = gateway.call("POST", "/v1/messages?beta=true", REQUEST, AGENT)

    assert got.status == status
    assert [pair for pair in got.headers if pair in UNIFIED] == UNIFIED
    assert (got.header("retry-after") or "").isdecimal()


@keys
def test_models_at_once(sandboxed: Gateway, key: Headers) -> None:
    """Asked at start, with three seconds' patience, and no redirect is followed."""
    began = time.monotonic()

    got = sandboxed.call("GET", "/v1/models?limit=1000", headers=[*key, *AGENT], with_key=False)

    assert time.monotonic() - began < 3
    assert got.status == 200
    found = got.json()
    assert found["data"]
    assert found["has_more"] is False
    assert all(model["id"] and model["display_name"] for model in found["data"])


HEADS = {
    "/api/hello": 404,
    "/v1/models": 200,
    "/api/v1/models": 200,
    "/health": 200,
    "/v1/messages": 405,
    "/v1/files/f/content": 405,
    "/": 200,
}


@pytest.mark.parametrize(("target", "status"), HEADS.items())
def test_probes_do_no_harm(sandboxed: Gateway, target: str, status: int) -> None:
    """Nor does the connection suffer: whoever asks next on it gets his own answer."""
    head = f"HEAD {target} HTTP/1.1\r\nhost: gateway\r\nx-api-key: {ADMIN_KEY}\r\n\r\n"
    next_one = "GET /health/live HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n"

    got = Client(sandboxed.url).raw((head + next_one).encode())

    first, _, rest = got.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 %d " % status)
    assert rest.startswith(b"HTTP/1.1 200 ")
    assert rest.endswith(b'{"status":"alive"}')


def test_probe_without_a_key(sandboxed: Gateway) -> None:
    assert sandboxed.call("HEAD", "/api/hello", with_key=False).status == 404
    assert sandboxed.call("HEAD", "/v1/models", with_key=False).status == 401
