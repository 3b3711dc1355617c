"""Redocly and Spectral accept both bundles, and each rule of ours that they were taught can be broken."""

import json
from pathlib import Path

import pytest
import yaml

from tests.support import installed
from tools import spec_linters
from tools.installed import ROOT, NotInstalled

pytestmark = pytest.mark.ecosystem


def ours(ruleset: str) -> set[str]:
    """The rules of a ruleset that its tool does not bring along."""
    rules = yaml.safe_load((spec_linters.HERE / ruleset).read_text())["rules"]
    return {name for name, rule in rules.items() if isinstance(rule, dict)}


def lint(bundles: tuple[Path, ...] = spec_linters.BUNDLES) -> str:
    try:
        return "\n".join(spec_linters.lint(bundles))
    except NotInstalled as reason:
        installed.missing(reason)


def test_both_bundles_are_clean() -> None:
    assert lint() == ""


def test_every_rule_of_the_house_can_be_broken(tmp_path: Path) -> None:
    spec = json.loads((ROOT / "openapi" / "dist" / "envelope.json").read_text())
    operation = spec["paths"]["/api/v1/messages/stream"]["post"]
    operation |= {
        "operationId": "streamMessage",
        "tags": ["messages", "files"],
        "summary": "streams.",
        "x-more": 1,
    }
    del operation["x-gateway"]
    del operation["responses"]["default"]
    operation["responses"]["200"] = {
        "description": "Events.",
        "headers": {"X-Other": {"schema": {"type": "string"}}},
        "content": {"text/event-stream": {"schema": {"type": "string"}}, "application/yaml": {}},
    }
    operation["responses"]["429"] = {
        "description": "Wait.",
        "headers": {"X-Other": {"schema": {"type": "string"}}},
    }
    operation["parameters"] = [{"name": "after", "in": "query", "schema": {"type": "string"}}]
    spec["components"]["schemas"]["Message"]["properties"]["model"]["enum"] = ["claude-haiku-4-5"]
    spec["openapi"] = "3.0.2"
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(spec))

    complaints = lint((broken,))

    rules = ours("redocly.yaml") | ours("spectral.yaml")
    assert {rule for rule in rules if rule not in complaints} == set()


def test_without_npm_it_fails_in_ci_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(source: Path) -> Path:
        raise NotInstalled("npm")

    monkeypatch.setattr(spec_linters.installed, "node_folder", none)
    monkeypatch.setenv("CI", "true")
    assert spec_linters.main() == 1
    monkeypatch.delenv("CI")
    assert spec_linters.main() == 0
