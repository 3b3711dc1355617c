"""Traces reach a collector over a real socket, named by the conventions, with nothing of what was said."""

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Relay
from tests.support import gateway as gateways
from tests.support.client import Client
from tests.support.collector import Collector, Span, collecting
from tests.support.gateway import ROOT, UPSTREAM_KEY, Gateway, eventually
from tests.support.recorder import Recorder, answer, stream

PROMPT = "canary-of-the-prompt-5d1f"
ANSWER = "canary-of-the-answer-77ab"
COLLECTOR_KEY = "canary-of-the-collector"
MODEL = "claude-haiku-4-5"
BODY = {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": PROMPT}]}
USAGE = {
    "input_tokens": 10,
    "output_tokens": 5,
    "cache_read_input_tokens": 3,
    "cache_creation_input_tokens": 2,
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": f"{MODEL}-20251001",
    "content": [{"type": "text", "text": ANSWER}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": USAGE,
}
FAILURE = {"type": "error", "error": {"type": "overloaded_error", "message": ANSWER}}


@dataclass(frozen=True)
class Traced:
    gateway: Gateway
    upstream: Recorder
    collector: Collector
    kitchen: Client


@pytest.fixture(scope="module")
def _traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder = tmp_path_factory.mktemp("traced")
    kitchen = gateways.make_key(folder / "data", "kitchen", ["messages", "files"])
    secret = folder / "headers"
    secret.write_text(f"x-collector-key={COLLECTOR_KEY}\n")
    with collecting() as collector, Recorder() as upstream:
        settings = {
            "ANTHROPIC_API_KEY": UPSTREAM_KEY,
            "ANTHROPIC_BASE_URL": upstream.url,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS_FILE": str(secret),
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=home",
            "OTEL_TRACES_SAMPLER": "",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "LOG_LEVEL": "DEBUG",
        }
        with gateways.running(folder, settings) as gateway:
            yield Traced(gateway, upstream, collector, Client(gateway.url, kitchen))


@pytest.fixture
def traced(_traced: Traced) -> Traced:
    _traced.upstream.reset()
    return _traced


def event(payload: dict[str, Any]) -> bytes:
    return f"event: {payload['type']}\ndata: {json.dumps(payload)}\n\n".encode()


def message_stream() -> list[Any]:
    start = {**MESSAGE, "content": [], "stop_reason": None, "usage": {**USAGE, "output_tokens": 1}}
    return stream(
        event({"type": "message_start", "message": start}),
        event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": ANSWER}}),
        event({"type": "content_block_stop", "index": 0}),
        event(
            {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 5}}
        ),
        event({"type": "message_stop"}),
    )


def caller() -> tuple[str, str, list[tuple[str, str]]]:
    """A caller's trace: its id, the id of its span, and the headers that say so."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    return (
        trace_id,
        span_id,
        [("traceparent", f"00-{trace_id}-{span_id}-01"), ("tracestate", "vendor=1,other=2")],
    )


def test_a_message_is_two_spans_of_the_callers_trace(traced: Traced) -> None:
    traced.upstream.script(answer(body=json.dumps(MESSAGE).encode(), headers=[("request-id", "req_up")]))
    trace_id, span_id, headers = caller()

    reply = traced.kitchen.call("POST", "/v1/messages?beta=true&q=canary", BODY, headers)

    assert reply.status == 200
    server, client = traced.collector.trace(trace_id)
    assert (server.name, server.kind, server.parent_id) == ("POST /v1/messages", "SERVER", span_id)
    request_id = reply.header("x-request-id")
    assert server.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v1/messages",
        "url.path": "/v1/messages",
        "url.scheme": "http",
        "anthropic_gateway.key": "kitchen",
        "anthropic_gateway.operation": "messages_create",
        "anthropic_gateway.request_id": request_id,
    }
    assert (client.name, client.kind, client.parent_id) == (f"chat {MODEL}", "CLIENT", server.span_id)
    cost = client.attributes.pop("anthropic_gateway.cost_usd")
    assert cost == float(traced.gateway.request_line(request_id)["cost_usd"])
    assert client.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": traced.upstream.port,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": MODEL,
        "gen_ai.request.max_tokens": 64,
        "gen_ai.response.model": f"{MODEL}-20251001",
        "gen_ai.response.finish_reasons": ["end_turn"],
        "gen_ai.usage.input_tokens": 15,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 3,
        "gen_ai.usage.cache_creation.input_tokens": 2,
        "anthropic_gateway.upstream_request_id": "req_up",
        "anthropic_gateway.usage.estimated": False,
    }
    assert not server.failed
    assert not client.failed
    assert traced.upstream.only.header("traceparent") == f"00-{trace_id}-{client.span_id}-01"
    assert traced.upstream.only.header("tracestate") == "vendor=1,other=2"
    assert server.resource["service.name"] == "anthropic-gateway"
    assert server.resource["deployment.environment"] == "home"
    assert traced.collector.headers[-1]["x-collector-key"] == COLLECTOR_KEY
    assert traced.gateway.request_line(request_id)["trace_id"] == trace_id


def test_a_stream_is_told_when_it_is_over(traced: Traced) -> None:
    traced.upstream.script(message_stream())
    trace_id, _, headers = caller()

    reply = traced.kitchen.call("POST", "/api/v1/messages/stream", BODY, headers)

    assert ANSWER in reply.body.decode()
    server, client = traced.collector.trace(trace_id)
    assert server.name == "POST /api/v1/messages/stream"
    assert client.attributes["gen_ai.response.finish_reasons"] == ["max_tokens"]
    assert client.attributes["gen_ai.usage.output_tokens"] == 5


def test_each_attempt_is_a_span_and_has_headers_of_its_own(traced: Traced) -> None:
    overloaded = answer(529, json.dumps(FAILURE).encode(), [("retry-after-ms", "1")])
    traced.upstream.script(overloaded, answer(body=json.dumps(MESSAGE).encode()))
    trace_id, _, headers = caller()

    assert traced.kitchen.call("POST", "/api/v1/messages/create", BODY, headers).status == 200

    server, first, second = traced.collector.trace(trace_id)
    assert not server.failed
    assert (first.failed, first.attributes["error.type"]) == (True, "529")
    assert "http.request.resend_count" not in first.attributes
    assert (second.failed, second.attributes["http.request.resend_count"]) == (False, 1)
    assert [request.header("traceparent") for request in traced.upstream.requests] == [
        f"00-{trace_id}-{span.span_id}-01" for span in (first, second)
    ]


def test_failures_are_told_by_kind_alone(traced: Traced) -> None:
    traced.upstream.script(answer(500, json.dumps(FAILURE).encode()))
    broken, _, headers = caller()
    assert traced.kitchen.call("POST", "/v1/messages", BODY, headers).status == 500
    unreachable, _, headers = caller()
    with traced.upstream.refusing():
        assert traced.kitchen.call("POST", "/v1/messages", BODY, headers).status == 502
    refused, _, headers = caller()
    assert traced.kitchen.call("GET", "/v1/models", None, headers).status == 403

    kinds = []
    for trace_id in (broken, unreachable, refused):
        for span in traced.collector.trace(trace_id):
            kinds.append((span.kind, span.failed, span.attributes.get("error.type")))
            assert span.events == 0
    assert kinds == [
        ("SERVER", True, "500"),
        ("CLIENT", True, "500"),
        ("SERVER", True, "502"),
        ("CLIENT", True, "APIConnectionError"),
        ("SERVER", False, None),
    ]


def test_an_error_within_a_stream_fails_both_spans(traced: Traced) -> None:
    parts = [part for part in message_stream()[1:3] if isinstance(part, bytes)]
    whole = stream(*(part.split(b"\r\n", 1)[1][:-2] for part in parts), event(FAILURE))
    traced.upstream.script(whole)
    trace_id, _, headers = caller()

    traced.kitchen.call("POST", "/v1/messages", {**BODY, "stream": True}, headers)

    spans = traced.collector.trace(trace_id)
    assert [(span.failed, span.attributes["error.type"]) for span in spans] == [
        (True, "overloaded_error")
    ] * 2


def test_what_costs_no_tokens_is_traced_as_plain_http(traced: Traced) -> None:
    traced.upstream.script(answer(body=b'{"data": [], "has_more": false}'))
    trace_id, _, headers = caller()

    traced.kitchen.call("GET", "/v1/files", None, headers)

    server, client = traced.collector.trace(trace_id)
    assert server.attributes["http.route"] == "/v1/files"
    assert client.name == "GET"
    assert not any(name.startswith("gen_ai") for name in client.attributes)


def test_an_asynchronous_message_stays_in_its_callers_trace(traced: Traced) -> None:
    traced.upstream.script(answer(body=json.dumps(MESSAGE).encode()))
    trace_id, _, headers = caller()

    assert traced.kitchen.call("POST", "/api/v1/messages/async", BODY, headers).status == 202

    def find() -> list[Span] | None:
        spans = [span for span in traced.collector.spans if span.trace_id == trace_id]
        return spans if len(spans) == 3 else None

    spans = {
        (span.kind, span.attributes.get("anthropic_gateway.operation")): span for span in eventually(find, 20)
    }
    run = spans["SERVER", "create_message"]
    assert spans["CLIENT", None].parent_id == run.span_id
    assert spans["CLIENT", None].attributes["gen_ai.usage.output_tokens"] == 5
    assert ("SERVER", "create_async_message") in spans


@pytest.mark.parametrize("given", ["nonsense", "00-" + "0" * 32 + "-" + "1" * 16 + "-01"])
def test_a_trace_that_is_none_begins_anew(traced: Traced, given: str) -> None:
    traced.upstream.script(answer(body=json.dumps(MESSAGE).encode()))

    reply = traced.kitchen.call("POST", "/v1/messages", BODY, [("traceparent", given), ("tracestate", "a=b")])

    trace_id = traced.gateway.request_line(reply.header("x-request-id"))["trace_id"]
    server, client = traced.collector.trace(trace_id)
    assert server.parent_id == ""
    sent = traced.upstream.only.header("traceparent")
    assert sent is not None
    assert sent.startswith(f"00-{trace_id}-{client.span_id}-")
    assert traced.upstream.only.header("tracestate") is None


def test_a_caller_that_is_not_sampled_is_passed_on_and_not_exported(traced: Traced) -> None:
    traced.upstream.script(answer(body=json.dumps(MESSAGE).encode()))
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)

    traced.kitchen.call("POST", "/v1/messages", BODY, [("traceparent", f"00-{trace_id}-{span_id}-00")])

    sent = traced.upstream.only.header("traceparent")
    assert sent is not None
    assert sent.startswith(f"00-{trace_id}-")
    assert sent.endswith("-00")
    later, _, headers = caller()
    traced.kitchen.call("GET", "/v1/models", None, headers)
    traced.collector.trace(later)
    assert not [span for span in traced.collector.spans if span.trace_id == trace_id]


def test_probes_are_not_traced(traced: Traced) -> None:
    for path in ("/health", "/metrics", "/openapi.json"):
        assert traced.gateway.call("GET", path).status == 200
    later, _, headers = caller()
    traced.kitchen.call("GET", "/v1/models", None, headers)
    traced.collector.trace(later)

    paths = {span.attributes.get("url.path") for span in traced.collector.spans}
    assert paths.isdisjoint({"/health", "/metrics", "/openapi.json"})


def test_nothing_of_what_was_said_is_in_a_span(traced: Traced) -> None:
    """Runs last, over all that the tests before it have sent."""
    odd = {**BODY, "model": f"claude {PROMPT}"}
    traced.upstream.script(answer(body=json.dumps(MESSAGE).encode()))
    trace_id, _, headers = caller()
    traced.kitchen.call("POST", f"/v1/messages?q={PROMPT}", odd, headers)
    spans: list[Span] = traced.collector.trace(trace_id)
    assert spans[1].attributes["gen_ai.request.model"] == "other"

    everything = b"".join(traced.collector.bodies)
    assert MODEL.encode() in everything
    assert traced.kitchen.key is not None
    for secret in (PROMPT, ANSWER, traced.kitchen.key, gateways.ADMIN_KEY, UPSTREAM_KEY, COLLECTOR_KEY):
        assert secret.encode() not in everything
        assert secret not in traced.gateway.output.read_text()


@pytest.mark.parametrize("path", ["/v1/messages", "/api/v1/messages/create"])
def test_off_the_callers_context_is_passed_on_as_it_is(relay: Relay, path: str) -> None:
    relay.upstream.script(answer(body=json.dumps(MESSAGE).encode()))
    _, _, headers = caller()

    reply = relay.kitchen.call("POST", path, BODY, headers)

    sent = relay.upstream.only
    assert [(name, sent.header(name)) for name in ("traceparent", "tracestate")] == headers
    assert "trace_id" not in relay.gateway.request_line(reply.header("x-request-id"))


def test_off_nothing_of_it_is_loaded() -> None:
    program = (
        "import sys; from gateway.server import *; from gateway.tracing import open_tracing\n"
        "assert open_tracing(Settings(upstream='sandbox'), 'http://x') is None\n"
        "unwanted = ('opentelemetry.sdk', 'opentelemetry.exporter', 'google.protobuf')\n"
        "print([name for name in sys.modules if name.startswith(unwanted)])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout == "[]\n"


def test_a_collector_that_is_not_there_disturbs_nobody(tmp_path: Path) -> None:
    settings = {
        "UPSTREAM": "sandbox",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    with gateways.running(tmp_path, settings) as gateway:
        for _ in range(3):
            assert gateway.call("POST", "/v1/messages", BODY).status == 200
        gateway.terminate()
        assert gateway.process.wait(60) == 0
    assert "Traceback" not in gateway.output.read_text()
