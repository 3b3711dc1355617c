"""Every panel of every dashboard answers, asked of a real Prometheus that scrapes a real gateway under load.

Grafana itself is not run: how it draws the answers is not tested.
"""

import json
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import sandbox
from tests import servers
from tests.monitoring import prometheus
from tests.monitoring.load import Load
from tests.monitoring.prometheus import Prometheus
from tests.support import gateway as gateways
from tests.support.client import Client

FOLDER = prometheus.ROOT / "prometheus" / "grafana" / "dashboards"
CALLS = 1_000
METRICS_KEY = "the-metrics-key-of-the-tests-0123456789"
CHOSEN = {"$__rate_interval": "1m", "$__range": "5m", "$__interval": "1m"}
VALUES = re.compile(r"label_values\((?P<of>.+), (?P<label>\w+)\)")


def dashboards() -> list[Path]:
    return sorted(FOLDER.glob("*.json"))


def document(file: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(file.read_text())
    return loaded


def panels(file: Path) -> dict[str, dict[str, Any]]:
    """The panels with queries, by title."""
    found = [panel for panel in document(file)["panels"] if panel["type"] != "row"]
    titled = {panel["title"]: panel for panel in found}
    assert len(titled) == len(found), "two panels of one title"
    return titled


def asked(expr: str) -> str:
    """A query as Grafana sends it while all values of the variables are chosen."""
    for name, value in CHOSEN.items():
        expr = expr.replace(name, value)
    expr = re.sub(r"\$[a-z]+", ".*", expr)
    assert "$" not in expr
    return expr


PANELS = [
    pytest.param(file, title, id=f"{file.stem}: {title}") for file in dashboards() for title in panels(file)
]


@dataclass(frozen=True)
class Watched:
    prometheus: Prometheus
    gateway: Client


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A gateway after a mixed load, and the Prometheus that has watched it meanwhile."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "prometheus").mkdir()
    with (
        servers.redis() as (redis, _),
        sandbox.serve_in_thread(settings=sandbox.Settings(batch_seconds=0.1)) as upstream,
    ):
        settings = {
            "ANTHROPIC_API_KEY": "sk-ant-any",
            "ANTHROPIC_BASE_URL": upstream,
            "RATE_LIMIT_STORAGE": redis,
            "METRICS_KEY": METRICS_KEY,
        }
        with gateways.running(folder, settings) as gateway:
            address = gateway.url.removeprefix("http://")
            with prometheus.running(folder / "prometheus", [address], METRICS_KEY) as server:
                load = Load.prepare(gateway)
                for _ in range(2):  # a counter grows where it was seen before
                    load.incidents()
                    load.batch()
                    load.calls(CALLS // 2)
                    server.wait_for_scrapes(2)
                server.moment = time.time()  # however long the tests take, a rate is of the load
                yield Watched(server, gateway)


@pytest.mark.parametrize(("file", "title"), PANELS)
def test_a_panel_shows_data(watched: Watched, file: Path, title: str) -> None:
    for target in panels(file)[title]["targets"]:
        series = watched.prometheus.query(asked(target["expr"]))
        values = [float(one["value"][1]) for one in series]
        assert any(math.isfinite(value) for value in values), target["expr"]
        for label in re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")):
            assert any(one["metric"].get(label) for one in series), f"no series has a label {label}"


@pytest.mark.parametrize("file", dashboards(), ids=lambda file: file.stem)
def test_a_variable_has_values(watched: Watched, file: Path) -> None:
    for variable in document(file)["templating"]["list"]:
        if variable["type"] != "query":
            continue
        query = VALUES.fullmatch(variable["query"]["query"])
        assert query, variable
        assert watched.prometheus.ask(f"label/{query['label']}/values", **{"match[]": asked(query["of"])})


def test_tokens_and_dollars_are_the_ledgers(watched: Watched) -> None:
    usage = watched.gateway.call("GET", "/api/v1/usage?group_by=key,model").json()["data"]
    shown = {title: panel["targets"] for title, panel in panels(FOLDER / "cost.json").items()}
    ask = watched.prometheus.values
    total = usage["total"]
    assert total["requests"] >= CALLS * 0.7

    ((cost,),) = (ask(asked(target["expr"])).values() for target in shown["Cost"])
    assert nanodollars(cost) == Decimal(total["cost_usd"])
    dollars = ask(asked(shown["Dollars, since the start"][0]["expr"]), "key", "model")
    assert {key: nanodollars(value) for key, value in dollars.items() if value} == {
        place: sum(Decimal(row["cost_usd"]) for row in rows)
        for place, rows in by_label(usage["rows"], dollars).items()
        if sum(Decimal(row["cost_usd"]) for row in rows)
    }

    ((tokens,),) = (ask(asked(target["expr"])).values() for target in shown["Tokens"])
    kinds = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    assert tokens == sum(total[kind] for kind in kinds)
    went_in, out, read, *written = (
        ask(asked(target["expr"]), "key", "model") for target in shown["Tokens, since the start"]
    )
    for place, rows in by_label(usage["rows"], out).items():
        wanted = [sum(row[kind] for row in rows) for kind in kinds]
        written_there = sum(one.get(place, 0) for one in written)
        assert [went_in.get(place, 0), out.get(place, 0), read.get(place, 0), written_there] == wanted, place


def nanodollars(value: float) -> Decimal:
    """A sum of floating point numbers as the money that it stands for."""
    return Decimal(f"{value:.9f}").normalize()


def by_label(
    rows: list[dict[str, Any]], shown: dict[tuple[str, ...], float]
) -> dict[tuple[str, str], list[Any]]:
    """The ledger's rows by what metrics call them: key, and model or `other`."""
    models = {model for _, model in shown}
    found: dict[tuple[str, str], list[Any]] = {}
    for row in rows:
        model = row["model"] if row["model"] in models else "other"
        found.setdefault((row["key"], model), []).append(row)
    return found
