"""The profile `monitoring`: Prometheus finds gateway, rules and Alertmanager. Grafana is not run."""

import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.container import compose
from tests.container.compose import ROOT, Project
from tests.servers import free_port

pytestmark = pytest.mark.container

METRICS_KEY = "only-for-the-metrics-0123456789abcdef"
SCRAPED_SECONDS = 60.0
NETWORK = f"gateway-test-{os.getpid()}"
"""Of its own: on the common one `gateway` is the name of every other test's container too."""

CHANGES = {"networks": {"solomon_network": {"external": True, "name": NETWORK}}}


def ask(address: str, path: str) -> Any:
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def monitored(image: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, str, str]]:
    """A gateway with its Prometheus and Alertmanager, and their addresses."""
    images = {f"{name.upper()}_IMAGE": compose.stand_in(name) for name in ("prometheus", "alertmanager")}
    prometheus, alertmanager = (f"127.0.0.1:{free_port()}" for _ in range(2))
    variables = {
        "UPSTREAM": "sandbox",
        "METRICS_KEY": METRICS_KEY,
        "PROMETHEUS_PORT": prometheus,
        "ALERTMANAGER_PORT": alertmanager,
        **images,
    }
    folder = tmp_path_factory.mktemp("monitoring")
    with (
        compose.network(NETWORK),
        compose.project(folder, "monitoring", changes=json.dumps(CHANGES), **variables) as project,
    ):
        project.up()
        project.up("prometheus", "alertmanager")
        for address in (prometheus, alertmanager):
            compose.until(
                lambda address=address: compose.healthy(f"http://{address}", "/-/ready"), SCRAPED_SECONDS
            )
        yield project, prometheus, alertmanager


def test_prometheus_scrapes_the_gateway_and_knows_its_rules(monitored: tuple[Project, str, str]) -> None:
    _, prometheus, _ = monitored

    def scraped() -> bool:
        answer = ask(prometheus, "/api/v1/query?query=up%7Bjob%3D%22gateway%22%7D")
        return [series["value"][1] for series in answer["data"]["result"]] == ["1"]

    compose.until(scraped, SCRAPED_SECONDS)
    ready = ask(prometheus, "/api/v1/query?query=anthropic_gateway_ready")["data"]["result"]
    assert [series["value"][1] for series in ready] == ["1"]
    groups = ask(prometheus, "/api/v1/rules")["data"]["groups"]
    assert {Path(group["file"]).name for group in groups} == {
        file.name for file in (ROOT / "prometheus/rules").glob("*.yml")
    }
    assert not [rule["name"] for group in groups for rule in group["rules"] if rule["health"] == "err"]


def test_prometheus_tells_alertmanager(monitored: tuple[Project, str, str]) -> None:
    _, prometheus, alertmanager = monitored

    def told() -> bool:
        active = ask(prometheus, "/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
        return [one["url"] for one in active] == ["http://alertmanager:9093/api/v2/alerts"]

    compose.until(told, SCRAPED_SECONDS)
    assert ask(alertmanager, "/api/v2/status")["config"]["original"]


@pytest.mark.parametrize("service", ["prometheus", "alertmanager"])
def test_they_are_as_hardened_as_the_gateway(monitored: tuple[Project, str, str], service: str) -> None:
    shown = monitored[0].inspect(service)

    assert shown["HostConfig"]["ReadonlyRootfs"] is True
    assert shown["HostConfig"]["CapDrop"] == ["ALL"]
    assert shown["HostConfig"]["SecurityOpt"] == ["no-new-privileges:true"]
    assert shown["Config"]["User"] not in ("", "root", "0")


def test_prometheus_says_that_it_needs_the_key(monitored: tuple[Project, str, str], tmp_path: Path) -> None:
    image = {"PROMETHEUS_IMAGE": compose.stand_in("prometheus")}
    with compose.project(tmp_path, "no-metrics-key", **image) as project:
        ended = project.run("run", "--rm", "--no-deps", "prometheus", check=False)

    assert ended.returncode != 0
    assert "METRICS_KEY" in ended.stderr
    assert "set METRICS_KEY in .env" in ended.stderr
