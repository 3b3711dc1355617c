"""The Compose files hand on every setting, stay within old Compose's syntax, and agree with the rest."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import __version__
from gateway.settings import VARIABLES, Settings

ROOT = Path(__file__).parents[2]
FIXED = {"HOST": "0.0.0.0", "PORT": 8000, "DATA_DIR": "/data", "LOG_DIR": "/logs", "CONFIG_DIR": "/config"}
HARDENED = {
    "restart": "unless-stopped",
    "init": True,
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
}
COMPOSE_1_29 = {
    "": {"services", "networks", "volumes"},
    "service": {
        *HARDENED, "build", "command", "depends_on", "entrypoint", "environment", "healthcheck", "image",
        "logging", "mem_limit", "networks", "ports", "profiles", "stop_grace_period", "tmpfs", "user",
        "volumes",
    },
    "build": {"context", "args"},
    "healthcheck": {"test", "interval"},
}  # fmt: skip
"""The words used here that docker-compose 1.29 knows; later Compose has more."""

FILES = ("docker-compose.yml", "deploy/qnap/docker-compose.yml")
files = pytest.mark.parametrize("file", FILES)


def compose(file: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / file).read_text())
    return document


def seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))


def test_every_setting_is_handed_on() -> None:
    environment = compose("docker-compose.yml")["services"]["gateway"]["environment"]

    assert environment == FIXED | {name: f"${{{name}:-}}" for name in VARIABLES - FIXED.keys()}


@pytest.mark.parametrize("replica", ["replica-1", "replica-2"])
def test_replicas_differ_only_in_what_they_share(replica: str) -> None:
    services = compose("docker-compose.yml")["services"]
    single, replicated = services["gateway"]["environment"], services[replica]["environment"]

    different = {name for name in single if single[name] != replicated[name]}
    assert different == {"DATABASE_URL", "RATE_LIMIT_STORAGE", "TRUSTED_PROXIES", "LOG_DIR"}
    assert single.keys() == replicated.keys()


@files
def test_the_gateway_is_published_and_bounded(file: str) -> None:
    document = compose(file)
    gateway = document["services"]["gateway"]

    assert gateway["ports"] == ["8090:8000"]
    assert gateway["networks"] == ["solomon_network"]
    assert document["networks"]["solomon_network"] == {"external": True}
    assert gateway["user"] == "${PUID:-10001}:${PGID:-10001}"
    assert gateway["mem_limit"]
    assert gateway["healthcheck"]["test"] == ["CMD", "python", "-m", "gateway.healthcheck"]
    targets = {volume.rsplit(":/", 1)[1] for volume in gateway["volumes"]}
    assert targets == {"data", "logs", "config:ro"}
    grace = Settings.model_fields["shutdown_grace_seconds"].default
    assert grace + 5 <= seconds(gateway["stop_grace_period"])


@files
def test_every_service_is_hardened(file: str) -> None:
    for name, service in compose(file)["services"].items():
        assert service.items() >= HARDENED.items(), name
        assert service["logging"]["driver"] == "json-file", name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        assert service["mem_limit"], name


@files
def test_old_compose_knows_every_word(file: str) -> None:
    document = compose(file)
    assert {name for name in document if not name.startswith("x-")} <= COMPOSE_1_29[""]
    for service in document["services"].values():
        assert service.keys() <= COMPOSE_1_29["service"]
        for part in ("build", "healthcheck"):
            assert service.get(part, {}).keys() <= COMPOSE_1_29[part]


def test_only_the_gateway_starts_without_a_profile() -> None:
    services = compose("docker-compose.yml")["services"]

    assert [name for name, service in services.items() if "profiles" not in service] == ["gateway"]
    assert {profile for service in services.values() for profile in service.get("profiles", [])} == {
        "monitoring",
        "scale",
    }


def test_mounted_files_exist() -> None:
    for name, service in compose("docker-compose.yml")["services"].items():
        for volume in service.get("volumes", []):
            if volume.startswith("./"):
                assert (ROOT / volume.split(":")[0]).is_dir(), name


def test_the_pasted_file_stands_alone() -> None:
    text = (ROOT / "deploy/qnap/docker-compose.yml").read_text()
    gateway = compose("deploy/qnap/docker-compose.yml")["services"]["gateway"]

    assert gateway.keys().isdisjoint({"build", "env_file"})
    assert set(re.findall(r"\$\{(\w+):-[^}]+\}", text)) == {"GATEWAY_IMAGE", "PUID", "PGID"}
    assert text.count("${") == 3
    assert not any(volume.startswith((".", "/")) for volume in gateway["volumes"])
    assert gateway["environment"].keys() <= VARIABLES - FIXED.keys()


def test_the_template_agrees_with_the_pasted_file() -> None:
    (template,) = json.loads((ROOT / "deploy/qnap/template.json").read_text())["templates"]
    gateway = compose("deploy/qnap/docker-compose.yml")["services"]["gateway"]

    assert template["image"] == f"anthropic-gateway:{__version__}"
    assert template["ports"] == [f"{port}/tcp" for port in gateway["ports"]]
    assert {volume["container"] for volume in template["volumes"]} == {"/data", "/logs", "/config"}
    assert {variable["name"] for variable in template["env"]} <= VARIABLES - FIXED.keys()


def test_one_version_of_the_image() -> None:
    for file in FILES:
        image = compose(file)["services"]["gateway"]["image"]
        assert image == f"${{GATEWAY_IMAGE:-anthropic-gateway:{__version__}}}"
    assert f'image.version="{__version__}"' in (ROOT / "Dockerfile").read_text()


def test_the_image_has_a_base_that_can_be_changed_and_no_fetched_frontend() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    base = re.search(r"^ARG BASE_IMAGE=(\S+)$", dockerfile, re.MULTILINE)

    assert base
    assert dockerfile.index("ARG BASE_IMAGE") < dockerfile.index("FROM ")
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {"${BASE_IMAGE}"}
    assert not dockerfile.startswith("# syntax")
    build = compose("docker-compose.yml")["services"]["gateway"]["build"]
    assert build["args"] == {"BASE_IMAGE": f"${{BASE_IMAGE:-{base[1]}}}"}
