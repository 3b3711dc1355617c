"""The SDK's release line before the present one, in a virtual environment of its own."""

import json
import os
import subprocess
import venv
from pathlib import Path

import pytest

from tests.support.gateway import ROOT, Gateway

RELEASE = "1.17.0"
FOLDER = ROOT / ".cache" / f"anthropic-{RELEASE}"
SCRIPT = ROOT / "tests" / "support" / "older_sdk.py"


@pytest.fixture(scope="session")
def interpreter() -> Path:
    """The interpreter that has the older SDK; built once. Where it cannot be, CI fails."""
    python = FOLDER / "bin" / "python"
    if not (FOLDER / "installed").exists():
        venv.create(FOLDER, clear=True, with_pip=True)
        install = [python, "-m", "pip", "install", "--quiet", f"anthropic=={RELEASE}"]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no anthropic {RELEASE}: {done.stderr}")
        (FOLDER / "installed").touch()
    return python


def test_older_sdk(interpreter: Path, sandboxed: Gateway) -> None:
    done = subprocess.run(
        [interpreter, SCRIPT, sandboxed.url],
        env={**os.environ, "ANTHROPIC_API_KEY": str(sandboxed.key)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("text") == found.pop("streamed") != ""
    assert found.pop("request_id").startswith("req_")
    assert found.pop("models") > 4
    assert found == {
        "version": RELEASE,
        "counted": True,
        "pages agree": True,
        "results": ["succeeded"],
        "error": "invalid_request_error",
    }
