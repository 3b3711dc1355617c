"""The dashboards' files: fresh, shaped as Grafana's own types say, and about metrics that there are."""

import json
import re
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from tests.support import installed
from tools.dashboards.__main__ import DASHBOARDS, FOLDER, render

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TYPES = "node_modules/@grafana/schema/dist/esm/raw/dashboard/x/dashboard_types.gen.d.ts"
METRIC = re.compile(r"\b(?:anthropic_gateway|gen_ai|process)_\w+(?=\{)")
SUFFIXES = re.compile(r"_(?:bucket|count|sum)$")

files = pytest.mark.parametrize("file", sorted(FOLDER.glob("*.json")), ids=lambda file: file.stem)


def document(file: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(file.read_text())
    return loaded


def test_the_files_are_fresh() -> None:
    written = {file.stem: file.read_text() for file in FOLDER.glob("*.json")}

    assert written == {dashboard.name: render(dashboard) for dashboard in DASHBOARDS}, "run make docs"


@files
def test_no_panel_lies_on_another(file: Path) -> None:
    panels = document(file)["panels"]
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    assert len({panel["id"] for panel in panels}) == len(panels)


@files
def test_whoever_imports_it_chooses_the_data_source(file: Path) -> None:
    loaded = document(file)
    (choice,) = (one for one in loaded["templating"]["list"] if one["type"] == "datasource")
    places = [panel for panel in loaded["panels"] if panel["type"] != "row"]
    places += [target for panel in places for target in panel["targets"]]
    places += [one for one in loaded["templating"]["list"] if one["type"] == "query"]

    assert choice["query"] == "prometheus"
    assert {place["datasource"]["uid"] for place in places} == {f"${{{choice['name']}}}"}


@files
def test_its_metrics_are_documented(file: Path) -> None:
    documented = set(re.findall(r"^\| `(\w+)`", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE))
    asked = set(METRIC.findall(file.read_text()))

    assert asked
    assert {name for name in asked if SUFFIXES.sub("", name) not in documented} <= documented


def test_what_is_provisioned_is_there() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
    (folder,) = (volume.split(":")[:2] for volume in compose["volumes"] if volume.startswith("./"))
    provisioning = ROOT / folder[0] / "provisioning"
    assert compose["environment"]["GF_PATHS_PROVISIONING"] == f"{folder[1]}/provisioning"

    (provider,) = yaml.safe_load((provisioning / "dashboards/gateway.yml").read_text())["providers"]
    path = provider["options"]["path"].replace(folder[1], folder[0], 1)
    assert (ROOT / path).resolve() == FOLDER
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["url"], source["isDefault"]) == (
        "prometheus",
        "http://prometheus:9090",
        True,
    )


def test_their_shape_is_that_of_grafanas_types() -> None:
    folder = installed.node_folder(HERE / "grafana_schema")
    generator = [
        folder / "node_modules/.bin/ts-json-schema-generator",
        "--path",
        TYPES,
        "--type",
        "Dashboard",
    ]
    schema = subprocess.run(
        [*generator, "--no-type-check"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    validator = jsonschema_rs.validator_for(json.loads(schema))

    for file in sorted(FOLDER.glob("*.json")):
        faults = [
            f"{fault.instance_path}: {fault.message}" for fault in validator.iter_errors(document(file))
        ]
        assert not faults, file.name
    broken = document(FOLDER / "overview.json") | {"panels": "none"}
    assert not validator.is_valid(broken)


def test_grafanas_own_sdk_loses_nothing_of_them() -> None:
    python = installed.python_of(HERE / "grafana_sdk")

    installed.run([python, HERE / "grafana_sdk/round_trip.py", *sorted(FOLDER.glob("*.json"))], ROOT, {})
