"""docs/metrics.md tells of every metric that a running gateway shows, with its type and its labels."""

import re

import pytest

from tests.support.gateway import Gateway
from tools import metrics_page

ROW = re.compile(
    r"^\| `(?P<name>\w+)` \| (?P<kind>\w+) \| (?P<labels>[^|]*) \| (?P<text>[^|]+) \|$", re.MULTILINE
)
SAMPLE = re.compile(
    r"^(?P<name>\w+?)(?P<part>_bucket|_sum|_count)?(?:\{(?P<labels>.*)\})? [^ ]+$", re.MULTILINE
)


def rows() -> dict[str, tuple[str, set[str]]]:
    page = metrics_page.PAGE.read_text()
    return {
        row["name"]: (row["kind"], set(re.findall(r"`(\w+)`", row["labels"]))) for row in ROW.finditer(page)
    }


def test_the_table_is_fresh() -> None:
    page = metrics_page.PAGE.read_text()

    assert metrics_page.render(page) == page, "run make docs"


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="the page must hold"):
        metrics_page.render("# Metrics\n")


def test_what_is_scraped_is_in_the_table(sandboxed: Gateway) -> None:
    fields = {"name": "metrics page", "scopes": ["messages"], "budget": {"usd_per_day": 1}}
    sandboxed.call("POST", "/api/v1/keys", fields)
    body = {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "How are you?"}]}
    assert sandboxed.call("POST", "/api/v1/messages/create", body).status == 200
    scraped = sandboxed.call("GET", "/metrics").body.decode()
    documented = rows()

    types = dict(line.split()[2:4] for line in scraped.splitlines() if line.startswith("# TYPE"))
    assert {name: kind for name, (kind, _) in documented.items() if name in types} == types
    shown = 0
    for sample in SAMPLE.finditer(scraped):
        name = sample["name"] if sample["name"] in documented else f"{sample['name']}{sample['part']}"
        labels = set(re.findall(r'(\w+)="', sample["labels"] or "")) - {"le"}
        assert labels == documented[name][1], sample[0]
        shown += 1
    assert shown > 100
    # What may have no sample, without Redis, an open batch or an admin key; the others always have.
    assert documented.keys() - types.keys() <= {
        "anthropic_gateway_limits_storage_up",
        "anthropic_gateway_limits_storage_failures_total",
        "anthropic_gateway_batch_oldest_open_timestamp_seconds",
        "anthropic_gateway_reconcile_drift_ratio",
        "anthropic_gateway_reconcile_last_success_timestamp_seconds",
    }
