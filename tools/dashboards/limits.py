"""Whose budget is nearly used up, who runs into limits, and how much Anthropic still allows."""

from tools.dashboards.grafana import Dashboard, Panel, Query, Row
from tools.dashboards.promql import (
    GATEWAYS,
    KEY,
    RATE,
    growth,
    metric,
    quantiles,
    rate,
    ratio,
    shared,
    variable,
)

LATEST_RESET = f"max by (model_class, kind) ({metric('ratelimit_reset_timestamp_seconds')})"
WINDOWS = ("key", "window")
SPENT = Query(
    ratio(
        shared("budget_spent_dollars", *WINDOWS, matchers=[KEY]),
        shared("budget_limit_dollars", *WINDOWS, matchers=[KEY]),
    ),
    "{{key}}, {{window}}",
)

LIMITS = Dashboard(
    "limits",
    "Gateway: limits and budgets",
    "Whose budget is nearly used up, who runs into limits, and how much does Anthropic still allow?",
    [
        Row(
            "Budgets",
            [
                Panel(
                    "Spent",
                    [SPENT],
                    "percentunit",
                    "bargauge",
                    largest=1,
                ),
                Panel(
                    "In dollars",
                    [
                        Query(shared(f"budget_{what}_dollars", *WINDOWS, matchers=[KEY]), what)
                        for what in ("limit", "spent", "reserved")
                    ],
                    "currencyUSD",
                    "table",
                    text="Reserved is what calls under way hold.",
                    decimals=4,
                ),
                Panel(
                    "Spent, over time",
                    [SPENT],
                    "percentunit",
                    width=24,
                ),
            ],
        ),
        Row(
            "Limits",
            [
                Panel(
                    "Refused, by reason",
                    [Query(rate("rejections_total", "reason", matchers=[KEY]), "{{reason}}")],
                    "reqps",
                ),
                Panel(
                    "Refused in the time shown",
                    [Query(growth("rejections_total", "key", "reason", matchers=[KEY]) + " > 0", "times")],
                    kind="table",
                    decimals=0,
                ),
                Panel("Calls in line", [Query(metric("queue_depth"), "{{instance}}")], width=8),
                Panel("Time in line", quantiles("queue_wait_seconds"), "s", width=8),
                Panel(
                    "Redis",
                    [
                        Query(f"min({metric('limits_storage_up')})", "answers"),
                        Query(
                            growth("limits_storage_failures_total", window=RATE),
                            "questions without an answer",
                        ),
                    ],
                    width=8,
                    text="Where RATE_LIMIT_STORAGE names one.",
                ),
            ],
        ),
        Row(
            "What Anthropic allows",
            [
                Panel(
                    "Left",
                    [
                        Query(
                            f"min by (model_class, kind) ({metric('ratelimit_remaining')}"
                            f" / {metric('ratelimit_limit')})",
                            "{{model_class}} {{kind}}",
                        )
                    ],
                    "percentunit",
                    largest=1,
                ),
                Panel(
                    "Whole again in",
                    [
                        Query(
                            f"clamp_min({LATEST_RESET} - time(), 0)",
                            "{{model_class}} {{kind}}",
                        )
                    ],
                    "s",
                ),
            ],
        ),
    ],
    [GATEWAYS, variable("key", metric("rejections_total"))],
)
