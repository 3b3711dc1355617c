"""What is counted along the way of a call. What is read at each scrape stands in `gateway.metrics.readings`.

Times are in seconds, and their buckets reach as far as ANTHROPIC_TIMEOUT's default.
"""

from gateway.metrics.instruments import Description, Kind
from gateway.prices import NANODOLLARS

PREFIX = "anthropic_gateway_"

DURATION_BUCKETS = (
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 120, 300, 600,
)  # fmt: skip
FIRST_TOKEN_BUCKETS = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 60, 120)
CHUNK_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300)
OVERHEAD_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
QUEUE_BUCKETS = (0.001, 0.01, 0.1, 0.5, 1, 2.5, 5, 10, 20, 30)
TOKEN_BUCKETS = tuple(4**exponent for exponent in range(14))
"""OpenTelemetry's buckets for `gen_ai.client.token.usage`."""


def _own(
    kind: Kind, name: str, text: str, *labels: str, buckets: tuple[float, ...] = (), unit: int = 1
) -> Description:
    return Description(PREFIX + name, kind, text, labels, buckets, unit)


REQUESTS = _own("counter", "http_requests", "Requests served.", "operation", "method", "code")
DURATION = _own(
    "histogram", "http_request_duration_seconds", "Time to the last byte of the answer.", "operation",
    buckets=DURATION_BUCKETS,
)  # fmt: skip
UPSTREAM = _own(
    "counter", "upstream_requests", "Requests that went to Anthropic, by how they ended.",
    "operation", "model", "outcome", "stream",
)  # fmt: skip
UPSTREAM_DURATION = _own(
    "histogram", "upstream_duration_seconds",
    "Time from asking Anthropic to the last byte of its answer, attempts that were repeated included.",
    "operation", "model", buckets=DURATION_BUCKETS,
)  # fmt: skip
FIRST_TOKEN = _own(
    "histogram", "time_to_first_token_seconds", "Time to the first byte of a message stream.",
    "operation", "model", buckets=FIRST_TOKEN_BUCKETS,
)  # fmt: skip
INTER_CHUNK = _own(
    "histogram", "inter_chunk_seconds", "Time between two pieces of a message stream.",
    "operation", "model", buckets=CHUNK_BUCKETS,
)  # fmt: skip
OVERHEAD = _own(
    "histogram", "overhead_seconds",
    "What the gateway itself adds to a call's answer, or to a stream's first byte; the caller's sending"
    " included, waiting in line left out.",
    "operation", "model", buckets=OVERHEAD_BUCKETS,
)  # fmt: skip
TOKENS = _own("counter", "tokens", "Tokens as Anthropic counts them.", "model", "type", "key")
COST = _own(
    "counter", "cost_dollars", "Cost of calls and batches in US dollars, as the ledger has it.",
    "model", "kind", "key", "quality", unit=NANODOLLARS,
)  # fmt: skip
UNKNOWN_MODEL = _own(
    "counter",
    "pricing_unknown_model",
    "Calls priced at the dearest price, for the table lacks their model.",
)
REJECTIONS = _own("counter", "rejections", "Requests that the gateway itself refused.", "reason", "key")
QUEUE_WAIT = _own(
    "histogram", "queue_wait_seconds",
    "Time that calls stood in line for a place of their key, where its calls at a time are limited.",
    buckets=QUEUE_BUCKETS,
)  # fmt: skip
ABORTS = _own("counter", "stream_aborts", "Streams that ended before their last event.", "side", "phase")
RETRIES = _own("counter", "retries", "Upstream calls tried again, by what was met.", "reason")
VIOLATIONS = _own(
    "counter", "contract_violations", "Requests or answers that break the spec.", "operation", "side"
)
CREDENTIAL = _own(
    "counter", "upstream_credential_refused", "Anthropic's 401 for the gateway's own credential."
)
SPEND_LIMIT = _own(
    "counter",
    "upstream_spend_limit_refused",
    "Anthropic's 429 without retry-after: its spend limit is reached, and trying again is of no use.",
)
UNLISTED = _own("counter", "unlisted_requests", "Relayed requests to paths that the spec lacks.")

OTEL_TOKENS = Description(
    "gen_ai_client_token_usage",
    "histogram",
    "Tokens of a call; input with what was read from the cache or written to it.",
    (
        "gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_token_type",
        "gen_ai_request_model",
    ),
    TOKEN_BUCKETS,
)  # fmt: skip
OTEL_DURATION = Description(
    "gen_ai_client_operation_duration_seconds",
    "histogram",
    "Duration of a call.",
    (
        "gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "error_type",
    ),
    DURATION_BUCKETS,
)  # fmt: skip
OTEL_FIRST_TOKEN = Description(
    "gen_ai_server_time_to_first_token_seconds",
    "histogram",
    "Time to the first token of a stream.",
    ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"),
    FIRST_TOKEN_BUCKETS,
)
"""OpenTelemetry's names (https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/), so that
dashboards made for them work."""
