"""Health, metrics, documents, logs and headers: what an operator and a balancer see."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway import __version__
from tests import servers
from tests.conftest import Relay
from tests.support import gateway as gateways
from tests.support.client import Client
from tests.support.gateway import ADMIN_KEY, UPSTREAM_KEY, Gateway
from tests.support.recorder import Recorder, answer, stream
from tests.support.transcripts import FULL, SHORT, events

MESSAGE = {
    "model": "claude-sonnet-4-20250514",
    "max_tokens": 5,
    "messages": [{"role": "user", "content": "Hi"}],
}


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Recorder]]:
    """A gateway with what is off by default switched on, and no admin key of Anthropic's."""
    with Recorder() as upstream:
        settings = {
            "ANTHROPIC_API_KEY": UPSTREAM_KEY,
            "ANTHROPIC_BASE_URL": upstream.url + "/prefix/",
            "METRICS_PUBLIC": "true",
            "METRICS_KEY": "a-key-for-metrics-alone",
            "CORS_ORIGINS": "https://app.example",
            "TRUSTED_PROXIES": "127.0.0.0/8",
            "NATIVE_VALIDATION": "enforce",
            "RESPONSE_VALIDATION": "enforce",
            "LOG_FORMAT": "json",
        }
        with gateways.running(tmp_path_factory.mktemp("public"), settings) as gateway:
            yield gateway, upstream


def test_health_to_the_byte(sandboxed: Gateway) -> None:
    got = sandboxed.call("GET", "/health", with_key=False)

    assert got.status == 200
    assert got.header("content-type") == "application/json"
    assert got.body == b'{"status":"healthy","version":"1.0.0","clients_initialized":true}'


def test_live_and_ready(sandboxed: Gateway, gateway: Gateway) -> None:
    assert sandboxed.call("GET", "/health/live", with_key=False).json() == {"status": "alive"}
    for running, upstream in ((sandboxed, "sandbox"), (gateway, "anthropic")):
        got = running.call("GET", "/health/ready", with_key=False)
        assert got.status == 200
        assert (got.json()["status"], got.json()["upstream"]) == ("ready", upstream)
        assert all(got.json()["checks"].values())


def test_the_sandbox_never_stands_in_silently(sandboxed: Gateway, gateway: Gateway) -> None:
    assert sandboxed.call("GET", "/v1/models").header("x-gateway-upstream") == "sandbox"
    assert gateway.call("GET", "/v1/models").header("x-gateway-upstream") is None
    assert any("sandbox" in line["event"] for line in sandboxed.log())


def test_probes_ask_upstream_nothing(relay: Relay) -> None:
    for path in ("/health", "/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json"):
        assert relay.gateway.call("GET", path).status == 200
    assert relay.upstream.requests == []


@pytest.mark.parametrize(
    "path", ["/", "/health", "/health/live", "/health/ready", "/docs", "/openapi.json", "/v1/openapi.json"]
)
def test_open_to_all_and_to_head(sandboxed: Gateway, path: str) -> None:
    got = sandboxed.call("GET", path, with_key=False)
    probe = sandboxed.call("HEAD", path, with_key=False)

    assert got.status == probe.status == 200
    assert probe.body == b""
    assert probe.header("content-length") == got.header("content-length") == str(len(got.body))


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/console/app.js",
        "/docs",
        "/docs/style.css",
        "/health",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/openapi.json",
        "/v1/openapi.json",
    ],
)
def test_pages_and_probes_take_any_query(sandboxed: Gateway, path: str) -> None:
    """Swagger UI keeps its state there, and a monitor's cache-buster must not make a gateway unhealthy."""
    for query in ("urls.primaryName=Native%20dialect%20(%2Fv1)", "v=1&v=2", "x=%FF"):
        assert sandboxed.call("GET", f"{path}?{query}").status == 200, query


def test_head_probes_of_agent_tools(sandboxed: Gateway) -> None:
    for path, statuses in (("/v1/models", {200, 405}), ("/api/hello", {404}), ("/", {200})):
        got = sandboxed.call("HEAD", path)
        assert got.status in statuses
        assert got.body == b""


def test_specs_are_the_committed_ones(sandboxed: Gateway) -> None:
    for path, name in (("/openapi.json", "envelope"), ("/v1/openapi.json", "native")):
        got = sandboxed.call("GET", path)
        assert got.body == (gateways.ROOT / "openapi" / "dist" / f"{name}.json").read_bytes()
        assert got.json()["info"]["version"] == __version__


@pytest.mark.parametrize("path", ["/docs", "/"])
def test_pages_ask_no_other_host(sandboxed: Gateway, path: str) -> None:
    page = sandboxed.call("GET", path)

    policy = page.header("content-security-policy") or ""
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert b"//" not in re.sub(rb"<!--.*?-->", b"", page.body).replace(b"</", b"").replace(b"/>", b"")
    links = re.findall(rb'(?:src|href)="([^"#]+)"', page.body)
    assert links
    for link in links:
        asset = sandboxed.call("GET", "/" + link.decode().lstrip("./"))
        assert asset.status == 200, link
        assert asset.header("x-content-type-options") == "nosniff"
    for missing in ("/docs/nothing.js", "/console/nothing.js", "/console/..%2Findex.html"):
        assert sandboxed.call("GET", missing).status in {400, 404}


@pytest.mark.parametrize("path", ["/docs", "/docs/swagger-ui.css", "/", "/console/app.js"])
def test_pages_are_sent_once(sandboxed: Gateway, path: str) -> None:
    first = sandboxed.call("GET", path, with_key=False)
    etag = first.header("etag") or ""

    again = sandboxed.call("GET", path, headers=[("if-none-match", f'"other", W/{etag}')], with_key=False)
    other = sandboxed.call("GET", path, headers=[("if-none-match", '"other"')], with_key=False)

    assert first.header("cache-control") == "no-cache"
    assert (again.status, again.body, again.header("content-length")) == (304, b"", None)
    assert again.header("etag") == etag
    assert (other.status, other.body) == (200, first.body)


def test_the_console_allows_no_inline_code(sandboxed: Gateway) -> None:
    policy = sandboxed.call("GET", "/").header("content-security-policy") or ""

    assert "'unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy


def test_who_may_read_metrics(relay: Relay, public: tuple[Gateway, Recorder]) -> None:
    gateway = relay.gateway
    assert gateway.call("GET", "/metrics", with_key=False).status == 401
    assert relay.kitchen.call("GET", "/metrics").status == 403
    assert gateway.call("GET", "/metrics").status == 200
    assert public[0].call("GET", "/metrics", with_key=False).status == 200


def test_the_metrics_key_opens_nothing_else(public: tuple[Gateway, Recorder]) -> None:
    key = [("authorization", "Bearer a-key-for-metrics-alone")]

    assert public[0].call("GET", "/metrics", headers=key, with_key=False).status == 200
    assert public[0].call("GET", "/v1/models", headers=key, with_key=False).status == 401


def test_metrics_are_well_formed(relay: Relay) -> None:
    relay.upstream.script(stream(events(FULL)), answer(500), answer(429))
    relay.gateway.call("POST", "/v1/messages", {**MESSAGE, "stream": True})
    relay.gateway.call("POST", "/v1/messages", MESSAGE)
    relay.gateway.call("GET", "/nothing")

    got = relay.gateway.call("GET", "/metrics")

    assert got.header("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    checked = subprocess.run(
        [servers.binary("promtool"), "check", "metrics"], input=got.body, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
    names = {
        line.partition("{")[0].partition(" ")[0] for line in got.body.decode().splitlines() if line[0] != "#"
    }
    assert all(name.startswith(("anthropic_gateway_", "gen_ai_", "process_")) for name in names)


def test_what_a_message_counts(relay: Relay) -> None:
    model = "claude-sonnet-4-20250514"
    tokens = {
        kind: f'anthropic_gateway_tokens_total{{key="admin",model="{model}",type="{kind}"}}'
        for kind in ("input", "output", "cache_read", "cache_write_5m")
    }
    requests = 'anthropic_gateway_http_requests_total{code="200",method="POST",operation="messages_create"}'
    before = {sample: relay.gateway.metric(sample) for sample in (*tokens.values(), requests)}
    relay.upstream.script(stream(events(FULL)))

    relay.gateway.call("POST", "/v1/messages", {**MESSAGE, "stream": True})

    gained = {kind: relay.gateway.metric(sample) - before[sample] for kind, sample in tokens.items()}
    assert gained == {"input": 25, "output": 89, "cache_read": 7, "cache_write_5m": 3}
    assert relay.gateway.metric(requests) == before[requests] + 1


def test_probes_and_strange_paths_add_no_series(gateway: Gateway) -> None:
    gateway.call("GET", "/metrics")
    before = _series(gateway)
    for path in ("/health", "/health/live", "/v1/models/one", "/nothing/1"):
        gateway.call("GET", path)
    known = _series(gateway)
    for path in ("/health", "/v1/models/two", "/v1/models/three", "/nothing/2", "/nothing/3"):
        gateway.call("GET", path)

    assert _series(gateway) == known
    assert not any("health" in series for series in known)
    assert before <= known


def _series(gateway: Gateway) -> set[str]:
    lines = gateway.call("GET", "/metrics").body.decode().splitlines()
    return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}


LINE = [
    "timestamp",
    "level",
    "event",
    "method",
    "url",
    "status_code",
    "process_time",
    "request_id",
    "upstream_request_id",
    "operation",
    "key",
    "model",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cost_usd",
]


def test_log_line_of_a_request(relay: Relay) -> None:
    relay.upstream.script(stream(events(FULL), headers=[("request-id", "req_u")]))

    begun = time.time()
    got = relay.gateway.call("POST", "/v1/messages?beta=true", {**MESSAGE, "stream": True})
    line = relay.gateway.request_line(got.header("x-request-id"))
    found = time.time()

    assert list(line) == LINE
    written = datetime.fromisoformat(line["timestamp"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])
    assert begun - 0.001 <= written.astimezone(UTC).timestamp() <= found  # cut to milliseconds
    assert re.fullmatch(r"\d+\.\d{3}s", line["process_time"])
    del line["timestamp"], line["process_time"]
    cost = line.pop("cost_usd")
    assert float(cost) == pytest.approx((25 * 3 + 89 * 15 + 7 * 0.3 + 3 * 3.75) / 1e6)
    assert line == {
        "level": "INFO",
        "event": "Request completed",
        "method": "POST",
        "url": "/v1/messages",
        "status_code": 200,
        "request_id": got.header("x-request-id"),
        "upstream_request_id": "req_u",
        "operation": "messages_create",
        "key": "admin",
        "model": "claude-sonnet-4-20250514",
        "input_tokens": 25,
        "output_tokens": 89,
        "cache_read_input_tokens": 7,
        "cache_creation_input_tokens": 3,
    }


def test_log_line_of_a_refusal(relay: Relay) -> None:
    got = relay.gateway.call("GET", "/api/v1/nothing?secret=1")

    line = relay.gateway.request_line(got.header("x-request-id"))
    assert list(line) == LINE
    assert (line["level"], line["status_code"], line["url"]) == ("WARNING", 404, "/api/v1/nothing")
    assert line["operation"] is None
    assert relay.gateway.request_line(relay.gateway.call("GET", "/v1/nothing").header("x-request-id"))


def test_unknown_models_are_not_logged_by_name(relay: Relay) -> None:
    """A model's name is the caller's text: it could be anything."""
    got = relay.gateway.call("POST", "/v1/messages", {**MESSAGE, "model": "my-secret-project"})

    assert relay.gateway.request_line(got.header("x-request-id"))["model"] == "other"


def test_lines_are_written_soon(relay: Relay) -> None:
    """Within 100 ms; the best of five, as the machine may be busy."""
    delays = []
    for _ in range(5):
        got = relay.gateway.call("GET", "/health/live")
        begun = time.monotonic()
        relay.gateway.request_line(got.header("x-request-id"))
        delays.append(time.monotonic() - begun)

    assert min(delays) < 0.2


@pytest.mark.parametrize("given", ["abcdefgh", "A-b_c.1234567890", "x" * 128])
def test_request_id_of_the_caller(gateway: Gateway, given: str) -> None:
    got = gateway.call("GET", "/health/live", headers=[("x-request-id", given)])

    assert got.header("x-request-id") == given
    assert gateway.request_line(given)["url"] == "/health/live"


@pytest.mark.parametrize(
    "given", ["", "short", "x" * 129, "a b c d e f g", 'quote"quote', "grüße-grüße", "a/b/c/d/e"]
)
def test_request_id_that_is_not_taken(gateway: Gateway, given: str) -> None:
    got = gateway.call("GET", "/health/live", headers=[("x-request-id", given)])

    assert re.fullmatch(r"req_[0-9a-f]{24}", got.header("x-request-id") or "")


def test_request_ids_differ(gateway: Gateway) -> None:
    ids = {gateway.call("GET", "/health/live").header("x-request-id") for _ in range(20)}

    assert len(ids) == 20


PREFLIGHT = [
    ("origin", "https://app.example"),
    ("access-control-request-method", "POST"),
    ("access-control-request-headers", "x-api-key,content-type,anthropic-version"),
]


def test_cors_by_setting(public: tuple[Gateway, Recorder]) -> None:
    gateway, upstream = public
    preflight = gateway.call("OPTIONS", "/api/v1/messages/create", headers=PREFLIGHT, with_key=False)
    assert preflight.status == 200
    assert preflight.header("access-control-allow-origin") == "https://app.example"
    assert "x-api-key" in (preflight.header("access-control-allow-headers") or "")
    for method in ("GET", "POST", "PATCH", "DELETE"):
        assert method in (preflight.header("access-control-allow-methods") or "")

    origin = [("origin", "https://app.example")]
    for got in (
        gateway.call("GET", "/health", headers=origin),
        gateway.call("POST", "/api/v1/messages/create", MESSAGE, origin, with_key=False),
        gateway.call("GET", "/api/v1/nothing", headers=origin),
    ):
        assert got.header("access-control-allow-origin") == "https://app.example"
        exposed = (got.header("access-control-expose-headers") or "").split(", ")
        assert {"X-Request-ID", "Retry-After", "Location", "request-id"} <= set(exposed)
    stranger = gateway.call("GET", "/health", headers=[("origin", "https://evil.example")])
    assert stranger.header("access-control-allow-origin") is None
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        (("origin", "https://evil.example"), "origin"),
        (("access-control-request-method", "BREW"), "method"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("path", ["/api/v1/messages/create", "/v1/messages"])
def test_a_preflight_is_refused_in_the_dialect_of_its_path(
    public: tuple[Gateway, Recorder], path: str, changed: tuple[str, str], what: str
) -> None:
    gateway, _ = public
    headers = list({**dict(PREFLIGHT), changed[0]: changed[1]}.items())

    got = gateway.call("OPTIONS", path, headers=headers, with_key=False)

    assert got.status == 400
    assert got.header("content-type") == "application/json"
    assert (got.header("vary") or "").startswith("Origin")
    error = got.json()["error"]
    assert (error if path.startswith("/api/") else error["message"]) == f"Disallowed CORS {what}"
    assert (got.header("access-control-allow-origin") is None) == (what == "origin")


def test_no_cors_unless_set(gateway: Gateway) -> None:
    got = gateway.call("GET", "/health", headers=PREFLIGHT[:1])

    assert got.header("access-control-allow-origin") is None
    assert gateway.call("OPTIONS", "/api/v1/messages/create", headers=PREFLIGHT).status == 405


def test_streams_with_cors(public: tuple[Gateway, Recorder]) -> None:
    gateway, upstream = public
    upstream.script(stream(events(SHORT)))

    got = gateway.call("POST", "/api/v1/messages/stream", MESSAGE, [("origin", "https://app.example")])

    assert got.header("access-control-allow-origin") == "https://app.example"
    assert b"message_stop" in got.body


def test_base_url_with_a_path(public: tuple[Gateway, Recorder]) -> None:
    gateway, upstream = public
    upstream.reset()
    upstream.script(answer(404, b"{}"))
    gateway.call("GET", "/v1/models/m?a=%2F")

    assert upstream.only.target == "/prefix/v1/models/m?a=%2F"
    upstream.reset()


def test_enforced_validation_of_native_requests(public: tuple[Gateway, Recorder]) -> None:
    gateway, upstream = public
    upstream.reset()
    got = gateway.call("POST", "/v1/messages", {"model": "m", "max_tokens": 5})

    assert got.status == 400
    assert got.json()["error"]["message"] == "'messages' is a required property"
    assert upstream.requests == []


def test_observed_violations_are_counted_and_relayed(relay: Relay) -> None:
    sample = 'anthropic_gateway_contract_violations_total{operation="messages_create",side="request"}'
    before = relay.gateway.metric(sample)

    got = relay.gateway.call(
        "POST", "/v1/messages", {"model": "m", "max_tokens": 5, "messages": [{"role": 7}]}
    )

    assert got.status == 200
    assert relay.gateway.metric(sample) == before + 1
    warning = next(
        line
        for line in relay.gateway.log()
        if line["event"] == "Request breaks the contract" and line["request_id"] == got.header("x-request-id")
    )
    assert warning["operation"] == "messages_create"
    assert warning["violation"].startswith("/messages/0")


def test_enforced_validation_of_answers(public: tuple[Gateway, Recorder]) -> None:
    gateway, upstream = public
    upstream.script(answer(200, b'{"id":7,"type":"message"}'), answer(200, b'{"id":7,"type":"message"}'))

    native = gateway.call("POST", "/v1/messages", MESSAGE)
    envelope = gateway.call("POST", "/api/v1/messages/create", MESSAGE)

    assert native.status == envelope.status == 500
    assert native.json()["error"]["message"].startswith("the answer breaks the contract: ")


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/messages"), ("GET", "/v1/models/m")])
def test_an_answer_that_is_no_json_is_told_as_that(relay: Relay, method: str, path: str) -> None:
    relay.upstream.script(answer(200, b'{"id":"msg_1","ty'))

    got = relay.gateway.call(method, path, MESSAGE if method == "POST" else None)

    assert (got.status, got.body) == (200, b'{"id":"msg_1","ty')
    request_id = relay.gateway.request_line(got.header("x-request-id"))["request_id"]
    warnings = [line for line in relay.gateway.log() if line["event"] == "Answer breaks the contract"]
    assert [line["violation"] for line in warnings if line["request_id"] == request_id] == [
        "is not valid JSON"
    ]


def test_observed_answers_are_delivered(relay: Relay) -> None:
    """A paid answer is never thrown away."""
    sample = 'anthropic_gateway_contract_violations_total{operation="create_message",side="response"}'
    before = relay.gateway.metric(sample)
    relay.upstream.script(answer(200, b'{"id":7,"type":"message"}'))

    got = relay.gateway.call("POST", "/api/v1/messages/create", MESSAGE)

    assert (got.status, got.json()["data"]) == (200, {"id": 7, "type": "message"})
    assert relay.gateway.metric(sample) == before + 1


def test_organisation_calls_without_an_admin_key(public: tuple[Gateway, Recorder]) -> None:
    gateway, upstream = public
    upstream.reset()
    got = gateway.call("GET", "/v1/organizations/users")

    assert got.status == 403
    assert "ANTHROPIC_ADMIN_KEY" in got.json()["error"]["message"]
    assert upstream.requests == []


FORWARDED = [
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "spoofed.example, gateway.example"),
    ("x-forwarded-prefix", "/claude/"),
]
BATCH = {
    "id": "msgbatch_1",
    "type": "message_batch",
    "processing_status": "ended",
    "request_counts": {"processing": 0, "succeeded": 1, "errored": 0, "canceled": 0, "expired": 0},
    "ended_at": "2026-01-01T00:00:00Z",
    "created_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-01-02T00:00:00Z",
    "archived_at": None,
    "cancel_initiated_at": None,
    "results_url": "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results",
}


def test_trusted_proxies(relay: Relay, public: tuple[Gateway, Recorder]) -> None:
    path, body = "/v1/messages/batches/msgbatch_1", json.dumps(BATCH).encode()
    public[1].script(answer(body=body))
    relay.upstream.script(answer(body=body))

    trusted = public[0].call("GET", path, headers=FORWARDED).json()["results_url"]
    unknown = relay.gateway.call("GET", path, headers=FORWARDED).json()["results_url"]

    assert trusted == f"https://gateway.example/claude{path}/results"
    assert unknown == f"{relay.gateway.url}{path}/results"


CANARY = "canary-7f3a"
SECRETS = [CANARY, ADMIN_KEY, UPSTREAM_KEY, gateways.UPSTREAM_ADMIN_KEY, "wrong-secret-key"]


def test_no_secret_no_prompt_no_answer_anywhere(relay: Relay) -> None:
    """At LOG_LEVEL=DEBUG and ANTHROPIC_LOG=debug, over every kind of call and failure."""
    gateway, upstream = relay.gateway, relay.upstream
    prompt = {**MESSAGE, "messages": [{"role": "user", "content": CANARY}], "system": CANARY, "novel": CANARY}
    reply = json.dumps({"id": "m", "content": [{"type": "text", "text": CANARY}], "novel": CANARY}).encode()
    said = events(SHORT).replace(b"Hello", CANARY.encode())
    told = stream(said.replace(b"claude-sonnet-4-20250514", CANARY.encode()))
    failure = b'{"error":{"message":"x"}}'
    bodies = []
    for target in ("/v1/messages", "/api/v1/messages/create", "/api/v1/messages/stream"):
        for steps in (answer(body=reply), told, answer(500, failure), answer(401, reply), [b"junk " + reply]):
            upstream.reply = lambda _, steps=steps: steps
            streamed = {**prompt, "stream": target != "/api/v1/messages/create"}
            with gateway.open("POST", target, streamed) as got:
                bodies.append((got.status, got.read()))
    upstream.reset()
    for body in (
        json.dumps({**prompt, "messages": CANARY}).encode(),
        f'{{"{CANARY}":1,"{CANARY}":2}}'.encode(),
        f'{{"model":{{"{CANARY}":1}},"max_tokens":"{CANARY}"}}'.encode(),
        f'{{"{CANARY}'.encode(),
    ):
        for target in ("/v1/messages", "/api/v1/messages/create"):
            got_whole = gateway.call("POST", target, body, [("content-type", "application/json")])
            bodies.append((got_whole.status, got_whole.body))
    wrong = [("x-api-key", "wrong-secret-key")]
    bodies.append((401, gateway.call("GET", f"/v1/models?q={CANARY}", headers=wrong, with_key=False).body))
    Client(gateway.url).raw(f"GET /{CANARY}\x00 HTTP/1.1\r\nx: {CANARY}\r\n\r\n".encode(), timeout=0.3)
    time.sleep(0.2)

    places = {
        "output": gateway.output.read_bytes(),
        "metrics": gateway.call("GET", "/metrics").body,
        **{f"answer {number}": body for number, (status, body) in enumerate(bodies) if status >= 400},
        **{str(path): path.read_bytes() for path in _files(gateway.data)},
    }
    assert len(places) > 10
    for place, content in places.items():
        for secret in SECRETS:
            assert secret.encode() not in content, f"{secret} in {place}"


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_log_is_json_throughout(relay: Relay) -> None:
    relay.gateway.call("GET", "/health/live")
    time.sleep(0.2)

    lines = relay.gateway.output.read_text().splitlines()

    assert lines
    for line in lines:
        assert list(json.loads(line))[:3] == ["timestamp", "level", "event"]
