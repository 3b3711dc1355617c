"""Whether Anthropic answers, how often it must be asked again, and whether the contract is kept."""

from tools.dashboards.grafana import Dashboard, Panel, Query, Row
from tools.dashboards.promql import (
    GATEWAYS,
    RATE,
    growth,
    metric,
    or_zero,
    quantile,
    quantiles,
    rate,
    shared,
    stat,
    total,
)

WELL = 'outcome="ok"'
UNWELL = 'outcome!="ok"'

UPSTREAM = Dashboard(
    "upstream",
    "Gateway: health of upstream",
    "Does Anthropic answer, how often must be asked again, and does what comes keep to the contract?",
    [
        Row(
            "Now",
            [
                stat("Asked", rate("upstream_requests_total"), "reqps"),
                stat(
                    "Answered well",
                    f"{rate('upstream_requests_total', matchers=[WELL])} / {rate('upstream_requests_total')}",
                    "percentunit",
                ),
                stat("Asked again", growth("retries_total"), text="In the time shown.", decimals=0),
                stat("Streams cut", growth("stream_aborts_total"), text="In the time shown.", decimals=0),
                stat(
                    "Key refused",
                    total(metric("upstream_credential_refused_total")),
                    text="Anthropic's 401: look at ANTHROPIC_API_KEY.",
                ),
                stat(
                    "Spend limit",
                    total(metric("upstream_spend_limit_refused_total")),
                    text="Anthropic's 429 without retry-after: raise the limit in its console.",
                ),
                stat(
                    "Open batches",
                    f"sum({shared('batches', 'state')})",
                ),
                stat(
                    "The oldest of them",
                    or_zero(f"time() - max({metric('batch_oldest_open_timestamp_seconds')})"),
                    "s",
                    text="Its age. Anthropic ends a batch after 24 hours.",
                ),
            ],
        ),
        Row(
            "Answers",
            [
                Panel(
                    "By outcome",
                    [Query(rate("upstream_requests_total", "outcome"), "{{outcome}}")],
                    "reqps",
                    stacked=True,
                ),
                Panel(
                    "Not answered well, by model",
                    [
                        Query(
                            f"{rate('upstream_requests_total', 'model', matchers=[UNWELL])}"
                            f" / {rate('upstream_requests_total', 'model')}",
                            "{{model}}",
                        )
                    ],
                    "percentunit",
                    largest=1,
                ),
                Panel("Time of an answer", quantiles("upstream_duration_seconds"), "s"),
                Panel(
                    "Streams and whole answers",
                    [Query(rate("upstream_requests_total", "stream"), "stream: {{stream}}")],
                    "reqps",
                    stacked=True,
                ),
                Panel(
                    "Asked again, by status",
                    [Query(rate("retries_total", "reason"), "{{reason}}")],
                    "reqps",
                    width=8,
                ),
                Panel(
                    "Streams that ended early",
                    [Query(rate("stream_aborts_total", "side", "phase"), "{{side}}, {{phase}}")],
                    "reqps",
                    width=8,
                ),
                Panel(
                    "Tokens of a call: 95 %",
                    [
                        Query(
                            quantile(0.95, "gen_ai_client_token_usage", "gen_ai_token_type"),
                            "{{gen_ai_token_type}}",
                        )
                    ],
                    width=8,
                ),
            ],
        ),
        Row(
            "Batches and contract",
            [
                Panel("Open batches, by state", [Query(shared("batches", "state"), "{{state}}")], width=8),
                Panel(
                    "Breaches of the spec",
                    [
                        Query(
                            growth("contract_violations_total", "operation", "side", window=RATE),
                            "{{operation}}, {{side}}",
                        )
                    ],
                    width=8,
                ),
                Panel(
                    "Paths that the spec lacks",
                    [Query(growth("unlisted_requests_total", window=RATE), "requests")],
                    width=8,
                ),
            ],
        ),
    ],
    [GATEWAYS],
)
