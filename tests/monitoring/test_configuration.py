"""Prometheus itself reads what is written for it: the project's configuration and the pieces in the docs."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.servers import binary

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/deployment.md").read_text()
PIECES = re.findall(r"^```yaml\n(scrape_configs:\n.+?)^```", PAGE, re.MULTILINE | re.DOTALL)


def check(file: Path) -> None:
    checked = subprocess.run(
        [binary("promtool"), "check", "config", "--syntax-only", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_the_projects_own() -> None:
    check(ROOT / "prometheus/prometheus.yml")


@pytest.mark.parametrize("piece", PIECES)
def test_a_piece_of_the_docs(piece: str, tmp_path: Path) -> None:
    file = tmp_path / "prometheus.yml"
    file.write_text(piece)
    check(file)


def test_both_addresses_are_in_the_docs() -> None:
    targets = [re.findall(r"targets: \[(\S+)\]", piece) for piece in PIECES]

    assert targets == [["gateway:8000"], ["nas:8090"]]


def test_alertmanagers() -> None:
    checked = subprocess.run(
        [binary("amtool"), "check-config", str(ROOT / "prometheus/alertmanager.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
