"""The official TypeScript SDK, with only its base URL and key changed."""

import re
from pathlib import Path

import pytest

from tests.support import installed
from tests.support.gateway import ADMIN_KEY, Gateway

SOURCE = Path(__file__).parents[1] / "support" / "typescript_sdk"
CALLS = re.findall(r"^  async (\w+)\(\)", (SOURCE / "calls.js").read_text(), re.MULTILINE)

assert CALLS

pytestmark = pytest.mark.ecosystem


@pytest.fixture(scope="module")
def folder() -> Path:
    return installed.node_folder(SOURCE)


@pytest.mark.parametrize("name", CALLS)
def test_call(sandboxed: Gateway, folder: Path, name: str) -> None:
    environment = {"ANTHROPIC_BASE_URL": sandboxed.url, "ANTHROPIC_API_KEY": ADMIN_KEY}

    installed.run(["node", "calls.js", name], folder, environment)
