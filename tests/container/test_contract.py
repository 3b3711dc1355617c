"""Tests of other folders against the container as Compose starts it: the official SDK, both specs."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.container import compose
from tests.container.compose import ROOT, Project

pytestmark = pytest.mark.container

SPECS = ("/openapi.json", "/v1/openapi.json")
UNHURRIED = """
import runpy
from gateway.keys import WrongKeys
WrongKeys.LONGEST = 0.0
runpy.run_path("main.py", run_name="__main__")
"""
"""The server without the delay that wrong keys are answered with: generated tests try hundreds of them."""


@pytest.fixture(scope="module")
def enforcing(image: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A gateway on the sandbox that refuses whatever breaks the contract, in both directions."""
    changes = {"services": {"gateway": {"command": ["python", "-c", UNHURRIED]}}}
    variables = {"UPSTREAM": "sandbox", "RESPONSE_VALIDATION": "enforce", "NATIVE_VALIDATION": "enforce"}
    folder = tmp_path_factory.mktemp("enforcing")
    with compose.project(folder, "enforcing", changes=json.dumps(changes), **variables) as project:
        project.up()
        yield project


def passed(project: Project, *arguments: str) -> int:
    """Run tests against a project; how many passed. None may fail, and none be skipped."""
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments],
        cwd=ROOT,
        env=os.environ | {"GATEWAY_URL": project.url, "GATEWAY_KEY": project.admin_key()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    summary = ended.stdout.splitlines()[-1]
    assert "skipped" not in summary, ended.stdout
    count = re.match(r"(\d+) passed", summary)
    assert count, ended.stdout
    return int(count[1])


def test_the_official_sdk(enforcing: Project) -> None:
    assert passed(enforcing, "tests/api/test_official_sdk.py") > 40


def test_both_specs_at_once(enforcing: Project) -> None:
    before = len(enforcing.logs().splitlines())
    tests = [f"tests/contract/test_fuzz.py::test_no_check_fails[{spec}]" for spec in SPECS]

    with ThreadPoolExecutor() as pool:
        assert list(pool.map(lambda test: passed(enforcing, "-m", "fuzz", test), tests)) == [1, 1]

    lines = [json.loads(line) for line in enforcing.logs().splitlines()[before:]]
    assert len(lines) > 1_000, "nothing was attacked"
    # A failure that the sandbox was asked to play is its answer, and ends an asynchronous message.
    failures = [line for line in lines if line["level"] == "ERROR" and not line.get("upstream_request_id")]
    assert failures == []
    assert enforcing.inspect()["RestartCount"] == 0
