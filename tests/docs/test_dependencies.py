"""What the server runs on: its licences, and the bill of materials that lists it."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tools import audit, sbom

ALLOWED = {
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "LGPL-3.0-only",  # psycopg: used as it is, and replaceable
    "MIT",
    "MPL-2.0",  # certifi: used as it is
    "PSF-2.0",
}
"""Licences that let an MIT program be run, changed and passed on with the package beside it."""

PACKAGES = {package.name: package for package in sbom.packages()}


def test_there_is_something_to_judge() -> None:
    assert {"anthropic", "connexion", "sqlalchemy", "uvicorn"} <= PACKAGES.keys()
    assert all(package.hashes for package in PACKAGES.values())


@pytest.mark.parametrize("name", PACKAGES)
def test_the_licence_is_allowed(name: str) -> None:
    licence = PACKAGES[name].licence
    assert licence, f"{name} names no licence"
    alternatives = [set(part.split(" AND ")) for part in licence.split(" OR ")]
    assert any(needed <= ALLOWED for needed in alternatives), f"{name}: {licence}"


def test_the_bill_is_cyclonedx_and_repeatable() -> None:
    document = json.dumps(sbom.bill(sbom.packages()))

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(document) is None
    assert document == json.dumps(sbom.bill(sbom.packages()))


def test_the_bill_tells_what_needs_what() -> None:
    bill = sbom.bill(sbom.packages())
    needs = {entry["ref"]: set(entry["dependsOn"]) for entry in bill["dependencies"]}

    assert PACKAGES["anthropic"].url in needs["anthropic-gateway"]
    assert PACKAGES["mako"].url in needs[PACKAGES["alembic"].url]
    reached, waiting = set(), ["anthropic-gateway"]
    while waiting:
        reached.add(ref := waiting.pop())
        waiting += needs[ref] - reached
    assert reached == needs.keys(), "nothing is listed that nothing needs"


def test_a_pin_that_is_not_installed(tmp_path: Path) -> None:
    pins = tmp_path / "requirements.txt"
    pins.write_text("uvicorn==0.0.1 \\\n    --hash=sha256:" + "0" * 64 + "\n")
    with pytest.raises(ValueError, match=r"uvicorn 0\.0\.1 is pinned"):
        sbom.packages(pins)


class Nowhere:
    def __call__(self, *_: object) -> socket.socket:
        raise OSError("no route")


def test_an_audit_without_its_source_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(socket, "create_connection", Nowhere())

    assert audit.main() == audit.UNREACHABLE
    assert capsys.readouterr().out.startswith("NOT AUDITED: ")


@pytest.mark.parametrize("found", [[], ["requirements-dev.txt"]])
def test_what_an_audit_finds_fails_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], found: list[str]
) -> None:
    """Both files are looked up, and pip-audit's own verdict on each counts."""
    asked: list[str] = []

    def run(command: list[str | Path], *, check: bool) -> subprocess.CompletedProcess[bytes]:
        asked.append(Path(command[-1]).name)
        return subprocess.CompletedProcess([], int(Path(command[-1]).name in found or check))

    with socket.create_server(("127.0.0.1", 0)) as service:
        monkeypatch.setattr(audit, "SERVICE", service.getsockname())
        monkeypatch.setattr(subprocess, "run", run)
        assert audit.main() == len(found)
    assert asked == list(audit.FILES)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == found


def test_pip_audit_takes_these_options() -> None:
    """So that a newer one does not fail for want of an option on the day it is needed."""
    shown = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--help"], capture_output=True, check=True
    ).stdout
    for option in ("--vulnerability-service", "--strict", "--require-hashes", "--disable-pip", "osv"):
        assert option.encode() in shown
