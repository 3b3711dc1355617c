"""The pinned requirements are those of pyproject.toml, by hash, and name no host."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import gateway

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PIN = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+)(?P<rest>(?:.*\\\n)+.*)$", re.MULTILINE)
FILES = {
    "requirements.txt": PROJECT["dependencies"],
    "requirements-dev.txt": PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"],
}

files = pytest.mark.parametrize("file", FILES)


def pins(file: str) -> dict[str, list[Version]]:
    """The pinned versions by name; one name has several where they differ by Python version."""
    found: dict[str, list[Version]] = {}
    for pin in PIN.finditer((ROOT / file).read_text()):
        assert "--hash=sha256:" in pin["rest"], pin["name"]
        found.setdefault(pin["name"], []).append(Version(pin["version"]))
    return found


@files
def test_every_dependency_is_pinned_within_its_bounds(file: str) -> None:
    pinned = pins(file)
    for dependency in map(Requirement, FILES[file]):
        versions = pinned.get(canonicalize_name(dependency.name), [])
        assert versions, dependency.name
        assert all(version in dependency.specifier for version in versions), dependency


def test_the_developers_run_what_users_run() -> None:
    developers = pins("requirements-dev.txt")
    for name, versions in pins("requirements.txt").items():
        assert developers[name] == versions


@files
def test_no_host_no_path_no_unwanted_package(file: str) -> None:
    text = (ROOT / file).read_text()

    assert "://" not in text
    assert not re.search(r"^-", text, re.MULTILINE)
    assert pins(file).keys().isdisjoint({"boto3", "botocore"})


def test_one_version_everywhere() -> None:
    assert PROJECT["version"] == gateway.__version__
    assert f"## [{gateway.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
