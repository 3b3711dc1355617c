"""Prometheus' rules are valid and tested, ask for metrics that exist, and the runbook knows each alert."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.metrics.scrape import DESCRIPTIONS
from tests import servers

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
RUNBOOK = "docs/runbook.md"

NAME = re.compile(r"(?<![\w:])(?:anthropic_gateway|gen_ai|process)_\w+")
SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("_sum", "_count"),
}


def rules(word: str) -> list[dict[str, Any]]:
    """All rules of a kind: `alert` or `record`."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if word in rule]


ALERTS = rules("alert")
alerts = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(
        [servers.binary("promtool"), *arguments], capture_output=True, text=True, check=False, cwd=PROMETHEUS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_rules_are_valid() -> None:
    assert not re.search("warn|duplicate|error", promtool("check", "rules", *RULES), re.IGNORECASE)


def test_the_configuration_is_valid() -> None:
    # `--syntax-only`: the key that it reads is written when the container starts.
    promtool("check", "config", "--syntax-only", "prometheus.yml")


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_rules_do_what_their_tests_say(path: Path) -> None:
    promtool("test", "rules", path)


@alerts
def test_an_alert_is_complete(alert: dict[str, Any]) -> None:
    name = alert["alert"]

    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["runbook_url"] == f"{RUNBOOK}#{name.lower()}"


@alerts
def test_an_alert_is_tested_both_ways(alert: dict[str, Any]) -> None:
    cases = [
        case
        for path in TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test.get("alert_rule_test", ())
        if case["alertname"] == alert["alert"]
    ]

    assert {bool(case.get("exp_alerts")) for case in cases} == {True, False}


def test_the_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    sections = re.findall(r"^## (.+)$", (ROOT / RUNBOOK).read_text(), re.MULTILINE)

    assert sections == [alert["alert"] for alert in ALERTS]


def test_rules_ask_for_metrics_that_exist() -> None:
    known = {
        description.name + suffix for description in DESCRIPTIONS for suffix in SUFFIXES[description.kind]
    }
    asked = {
        name
        for rule in (*ALERTS, *rules("record"))
        for name in NAME.findall(rule["expr"].replace(rule.get("record", " "), ""))
    }

    assert len(asked) > 20
    assert asked <= known


def test_alerts_ask_for_recorded_series_that_exist() -> None:
    recorded = {rule["record"] for rule in rules("record")}
    asked = {name for rule in ALERTS for name in re.findall(r"\w+:anthropic_gateway\w+:\w+", rule["expr"])}

    assert asked
    assert asked <= recorded
