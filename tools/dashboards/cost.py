"""Who spends what, on which model, for which kind of token."""

from tools.dashboards.grafana import Dashboard, Panel, Query, Row
from tools.dashboards.promql import (
    GATEWAYS,
    KEY,
    KEYS,
    LONG_AGO,
    MODEL,
    MODELS,
    growth,
    metric,
    or_zero,
    rate,
    ratio,
    stat,
    total,
)

BATCHES = 'kind="batch"'
ESTIMATED = 'quality="estimated"'
CACHE_READ = 'type="cache_read"'
NOT_OUTPUT = 'type!="output"'

COST = Dashboard(
    "cost",
    "Gateway: cost by key and model",
    "Who spends what, on which model, for which kind of token?",
    [
        Row(
            "Since the gateway's start: the ledger's own sums",
            [
                stat(
                    "Cost",
                    total(metric("cost_dollars_total", KEY, MODEL)),
                    "currencyUSD",
                    text="Equal to the ledger to the last digit, as long as the process runs.",
                    decimals=6,
                ),
                stat("Tokens", total(metric("tokens_total", KEY, MODEL)), "none", text=LONG_AGO),
                stat(
                    "Of batches",
                    or_zero(total(metric("cost_dollars_total", BATCHES, KEY, MODEL))),
                    "currencyUSD",
                    text="Booked when their results are there.",
                    decimals=6,
                ),
                stat(
                    "Estimated",
                    or_zero(total(metric("cost_dollars_total", ESTIMATED, KEY, MODEL))),
                    "currencyUSD",
                    text="Of calls that were cut off, and of models without a price.",
                    decimals=6,
                ),
                stat(
                    "Read from the cache",
                    ratio(
                        or_zero(total(metric("tokens_total", CACHE_READ, KEY, MODEL))),
                        total(metric("tokens_total", NOT_OUTPUT, KEY, MODEL)),
                    ),
                    "percentunit",
                    text="Of all tokens that went in.",
                ),
                stat(
                    "Priced at the dearest",
                    total(metric("pricing_unknown_model_total")),
                    text="Calls of models that the price table lacks.",
                ),
                stat(
                    "Prices of",
                    f"count({metric('pricing_info')})",
                    text="Gateways that tell their price table.",
                ),
                stat(
                    "In the last hour",
                    growth("cost_dollars_total", matchers=[KEY, MODEL], window="1h"),
                    "currencyUSD",
                    text="Prometheus' estimate from its scrapes.",
                    decimals=4,
                ),
            ],
        ),
        Row(
            "By key and model",
            [
                Panel(
                    "Dollars, since the start",
                    [Query(total(metric("cost_dollars_total", KEY, MODEL), "key", "model"), "dollars")],
                    "currencyUSD",
                    "table",
                    decimals=6,
                ),
                Panel(
                    "Tokens, since the start",
                    [
                        Query(
                            total(metric("tokens_total", f'type="{kind}"', KEY, MODEL), "key", "model"), shown
                        )
                        for kind, shown in (
                            ("input", "in"),
                            ("output", "out"),
                            ("cache_read", "cache read"),
                            ("cache_write_5m", "cache written, 5 min"),
                            ("cache_write_1h", "cache written, 1 h"),
                        )
                    ],
                    "none",
                    "table",
                ),
            ],
        ),
        Row(
            "Over time",
            [
                Panel(
                    f"Dollars an hour, by {label}",
                    [
                        Query(
                            f"{rate('cost_dollars_total', label, matchers=[KEY, MODEL])} * 3600",
                            f"{{{{{label}}}}}",
                        )
                    ],
                    "currencyUSD",
                    stacked=True,
                )
                for label in ("key", "model")
            ]
            + [
                Panel(
                    f"Tokens a second, by {label}",
                    [Query(rate("tokens_total", label, matchers=[KEY, MODEL]), f"{{{{{label}}}}}")],
                    stacked=True,
                    width=8,
                )
                for label in ("key", "model", "type")
            ],
        ),
        Row(
            "In the time shown",
            [
                Panel(
                    f"Dollars by {label}",
                    [Query(growth("cost_dollars_total", label, matchers=[KEY, MODEL]), "dollars")],
                    "currencyUSD",
                    "table",
                    text="Prometheus' estimate from its scrapes. What is owed says GET /api/v1/usage.",
                    decimals=4,
                )
                for label in ("key", "model")
            ],
        ),
    ],
    [GATEWAYS, KEYS, MODELS],
)
