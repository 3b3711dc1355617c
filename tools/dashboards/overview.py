"""Whether it is well, who calls it, what it costs; and the machine below it."""

from tools.dashboards.grafana import Dashboard, Panel, Query, Row
from tools.dashboards.promql import (
    GATEWAYS,
    LONG_AGO,
    RATE,
    growth,
    metric,
    or_zero,
    quantiles,
    rate,
    ratio,
    shared,
    stat,
    total,
)

FAILED = 'code=~"5.."'

OVERVIEW = Dashboard(
    "overview",
    "Gateway: overview",
    "Is it well, who calls it, what does it cost?",
    [
        Row(
            "Now",
            [
                stat(
                    "Ready",
                    f"min({metric('ready')})",
                    "bool_yes_no",
                    text="Whether every gateway takes new work.",
                ),
                stat(
                    "Alerts",
                    or_zero('count(ALERTS{alertstate="firing"})'),
                    text="Firing in this Prometheus.",
                ),
                stat("Calls", rate("http_requests_total"), "reqps"),
                stat(
                    "Failed",
                    ratio(
                        or_zero(rate("http_requests_total", matchers=[FAILED])), rate("http_requests_total")
                    ),
                    "percentunit",
                    text="Answers with a status of 500 or more.",
                ),
                stat("In flight", total(metric("inflight_requests"))),
                stat(
                    "In line", total(metric("queue_depth")), text="Calls that wait for a place of their key."
                ),
                stat("Tokens so far", total(metric("tokens_total")), text=LONG_AGO),
                stat(
                    "Cost so far",
                    total(metric("cost_dollars_total")),
                    "currencyUSD",
                    text=LONG_AGO,
                    decimals=2,
                ),
            ],
        ),
        Row(
            "Calls",
            [
                Panel(
                    "Answers by status",
                    [Query(rate("http_requests_total", "code"), "{{code}}")],
                    "reqps",
                    stacked=True,
                ),
                Panel(
                    "The ten busiest operations",
                    [Query(f"topk(10, {rate('http_requests_total', 'operation')})", "{{operation}}")],
                    "reqps",
                ),
                Panel("Time to the last byte", quantiles("http_request_duration_seconds"), "s"),
                Panel(
                    "Refused by the gateway",
                    [Query(rate("rejections_total", "reason"), "{{reason}}")],
                    "reqps",
                    text="By key: page Limits and budgets.",
                ),
            ],
        ),
        Row(
            "Tokens and dollars",
            [
                Panel(
                    "Tokens",
                    [Query(rate("tokens_total", "type"), "{{type}}")],
                    "short",
                    stacked=True,
                    text="A second.",
                ),
                Panel(
                    "Dollars an hour",
                    [Query(f"{rate('cost_dollars_total', 'model')} * 3600", "{{model}}")],
                    "currencyUSD",
                    stacked=True,
                ),
            ],
        ),
        Row(
            "The machine",
            [
                Panel(
                    "Processors in use",
                    [Query(rate("process_cpu_seconds_total", "instance"), "{{instance}}")],
                    width=6,
                ),
                Panel(
                    "Memory",
                    [Query(metric("process_resident_memory_bytes"), "{{instance}}")],
                    "bytes",
                    width=6,
                ),
                Panel("Files and connections", [Query(metric("process_open_fds"), "{{instance}}")], width=6),
                Panel(
                    "Server processes",
                    [
                        Query(total(metric("workers")), "running"),
                        Query(growth("worker_restarts_total", window=RATE), "started anew"),
                    ],
                    width=6,
                ),
                Panel(
                    "Database",
                    [
                        Query(shared("db_size_bytes"), "its size"),
                        Query(f"min({metric('data_dir_free_bytes')})", "free"),
                    ],
                    "bytes",
                    width=6,
                ),
                Panel("Rows", [Query(shared("db_rows", "table"), "{{table}}")], width=6),
                Panel(
                    "Time of a transaction",
                    [Query(f"{rate('db_write_seconds_sum')} / {rate('db_write_seconds_count')}", "mean")],
                    "s",
                    width=6,
                ),
                Panel(
                    "Writes",
                    [
                        Query(total(metric("db_queue_depth")), "waiting"),
                        Query(growth("db_write_failures_total", window=RATE), "refused"),
                        Query(growth("audit_records_total", window=RATE), "of the audit trail"),
                        Query(
                            growth("audit_write_failures_total", window=RATE), "of the audit trail, failed"
                        ),
                    ],
                    width=6,
                ),
                Panel(
                    "What runs",
                    [Query(total(metric("build_info"), "instance", "version", "python", "sdk"), "processes")],
                    kind="table",
                ),
                Panel(
                    "With which settings",
                    [
                        Query(
                            total(
                                metric("config_info"),
                                "instance",
                                "upstream",
                                "database",
                                "limits_storage",
                                "native_validation",
                                "response_validation",
                            ),
                            "processes",
                        )
                    ],
                    kind="table",
                ),
            ],
        ),
    ],
    [GATEWAYS],
)
