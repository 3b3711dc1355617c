"""Clients that are built on Anthropic's SDK, with only base URL and key changed."""

from pathlib import Path

import pytest

from tests.support import installed
from tests.support.gateway import ADMIN_KEY, Gateway

SOURCE = Path(__file__).parents[1] / "support" / "ecosystem"

pytestmark = pytest.mark.ecosystem


@pytest.mark.parametrize("name", ["langchain", "pydantic_ai", "llm"])
def test_client(sandboxed: Gateway, tmp_path: Path, name: str) -> None:
    python = installed.python_of(SOURCE / name)
    environment = {
        "ANTHROPIC_BASE_URL": sandboxed.url,
        "ANTHROPIC_API_KEY": ADMIN_KEY,
        "HOME": str(tmp_path),
        "LLM_USER_PATH": str(tmp_path),
    }
    before = _messages(sandboxed)

    installed.run([python, "-I", SOURCE / name / "calls.py"], tmp_path, environment)

    assert _messages(sandboxed) >= before + 5


def _messages(gateway: Gateway) -> int:
    """How many messages the gateway has been asked for."""
    return sum(line.get("operation") == "messages_create" for line in gateway.log())
