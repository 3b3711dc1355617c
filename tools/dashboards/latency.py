"""How long callers wait, for what, and how much of it is the gateway's doing."""

from tools.dashboards.grafana import Dashboard, Panel, Query, Row
from tools.dashboards.promql import GATEWAYS, OPERATION, OPERATIONS, metric, quantile, quantiles

LATENCY = Dashboard(
    "latency",
    "Gateway: latency and time to first token",
    "How long do callers wait, for what, and how much of it is the gateway's doing?",
    [
        Row(
            "To the first token",
            [
                Panel("Streams", quantiles("time_to_first_token_seconds", OPERATION), "s"),
                Panel(
                    "95 % of streams, by model",
                    [
                        Query(
                            quantile(0.95, "time_to_first_token_seconds", "model", matchers=[OPERATION]),
                            "{{model}}",
                        )
                    ],
                    "s",
                ),
                Panel(
                    "Between two pieces of a stream",
                    quantiles("inter_chunk_seconds", OPERATION),
                    "s",
                ),
                Panel(
                    "As OpenTelemetry names it",
                    quantiles("gen_ai_server_time_to_first_token_seconds"),
                    "s",
                ),
            ],
        ),
        Row(
            "To the last byte",
            [
                Panel("All calls", quantiles("http_request_duration_seconds", OPERATION), "s"),
                Panel(
                    "95 % of calls, by operation",
                    [
                        Query(
                            quantile(
                                0.95, "http_request_duration_seconds", "operation", matchers=[OPERATION]
                            ),
                            "{{operation}}",
                        )
                    ],
                    "s",
                ),
                Panel(
                    "Anthropic's part: 95 % by model",
                    [
                        Query(
                            quantile(0.95, "upstream_duration_seconds", "model", matchers=[OPERATION]),
                            "{{model}}",
                        )
                    ],
                    "s",
                ),
                Panel(
                    "As OpenTelemetry names it: 95 % by model",
                    [
                        Query(
                            quantile(
                                0.95, "gen_ai_client_operation_duration_seconds", "gen_ai_request_model"
                            ),
                            "{{gen_ai_request_model}}",
                        )
                    ],
                    "s",
                ),
            ],
        ),
        Row(
            "The gateway's own part",
            [
                Panel("What it adds", quantiles("overhead_seconds", OPERATION), "s", width=8),
                Panel("In line for a place", quantiles("queue_wait_seconds"), "s", width=8),
                Panel(
                    "How many at a time",
                    [Query(metric("inflight_requests"), "{{instance}}")],
                    width=8,
                ),
            ],
        ),
    ],
    [GATEWAYS, OPERATIONS],
)
