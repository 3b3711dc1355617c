"""Generated requests against a running server: boundary cases, random ones, and walks along the links.

`make fuzz` repeats the same cases each time. `make fuzz LONG=1` takes many more, and other ones every time; a
failure names their seed. What is not checked, and why, stands in schemathesis.toml. Where GATEWAY_URL and
GATEWAY_KEY are set, the gateway there is attacked: the container tests use that.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support import gateway as gateways
from tests.support.client import Client
from tests.support.gateway import ROOT, Gateway

pytestmark = pytest.mark.fuzz

LONG = bool(os.environ.get("LONG"))
PACE = ["--max-examples", "200"] if LONG else ["--seed", "1"]
SHARE = "1" if LONG else "40"
"""Of a message's boundary cases one in so many is sent (tests/contract/hooks.py)."""

PHASES = "examples,coverage,fuzzing,stateful"
WALKED = re.compile(r"API Links: +(?P<links>\d+) covered")


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A gateway on the sandbox that refuses whatever breaks the contract, in both directions."""
    if (elsewhere := gateways.elsewhere()) is not None:
        yield elsewhere
        return
    settings = {"UPSTREAM": "sandbox", "RESPONSE_VALIDATION": "enforce", "NATIVE_VALIDATION": "enforce"}
    program = ("-m", "tests.contract.unhurried")
    with gateways.running(tmp_path_factory.mktemp("attacked"), settings, program) as gateway:
        yield gateway


@pytest.mark.parametrize("spec", ["/openapi.json", "/v1/openapi.json"])
def test_no_check_fails(attacked: Client, spec: str) -> None:
    schemathesis = [sys.executable, "-m", "schemathesis.cli", "--no-color"]
    ended = subprocess.run(
        [*schemathesis, "run", attacked.url + spec, "--phases", PHASES, "--continue-on-failure", *PACE],
        cwd=ROOT,
        env=os.environ | {"GATEWAY_ADMIN_KEY": attacked.key or "", "FUZZ_SHARE": SHARE},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    walked = WALKED.search(ended.stdout)
    assert walked, ended.stdout
    assert int(walked["links"]) > 0, ended.stdout


def test_the_server_is_unharmed(attacked: Client) -> None:
    """Runs after the attacks."""
    assert attacked.call("GET", "/health", with_key=False).status == 200
    if not isinstance(attacked, Gateway):
        return  # whoever started it looks after its log
    assert attacked.process.poll() is None
    assert len(attacked.log()) > 1_000, "nothing was attacked"
    assert [line for line in attacked.log() if line["level"] == "ERROR"] == []
    assert "Traceback" not in attacked.output.read_text()
