"""What a server leaves out when it imports its libraries, and that nothing but time and memory tells."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def run(program: str) -> Any:
    """What a program printed as JSON, run by itself: what is imported here must not count."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, timeout=120
    )
    return json.loads(done.stdout)


EXPORTED = "import json, anthropic; print(json.dumps(sorted(anthropic.__all__)))"

NAMES = """
import json, sys
{first}
import anthropic
from anthropic.types.beta import BetaMessage
from anthropic.types import Message, MessageParam
names = {names!r}
found = {{name: repr(getattr(anthropic, name)) for name in names}}
print(json.dumps({{**found, "message": Message.__qualname__, "fields": sorted(BetaMessage.model_fields)}}))
"""

ERROR = """
import gateway.lean
import json, sys
import anthropic, httpx2
body = {"type": "error", "error": {"type": "not_found_error", "message": "no"}}
transport = httpx2.MockTransport(lambda request: httpx2.Response(404, json=body))
client = anthropic.Anthropic(api_key="x", http_client=httpx2.Client(transport=transport))
assert "anthropic.types.message" not in sys.modules
try:
    client.messages.create(model="m", max_tokens=1, messages=[])
except anthropic.APIStatusError as error:
    print(json.dumps([type(error).__name__, error.message, isinstance(error, anthropic.NotFoundError)]))
"""

SERVED = """
import gateway.lean
import json, sys
import anthropic, gateway.server
anthropic.AsyncAnthropic
print(json.dumps(sorted(sys.modules)))
"""


RETRIED = """
import gateway.lean
import json, sys
import httpx2
from gateway.upstream import StatusToRetry
error = StatusToRetry(httpx2.Response(529, request=httpx2.Request("POST", "http://upstream/")))
loaded = [name for name in sys.modules if name.startswith("anthropic.types")]
print(json.dumps([error.status_code, str(error), loaded]))
"""


def test_a_retry_does_not_import_the_types() -> None:
    """It would hold up everybody for half a second."""
    assert run(RETRIED) == [529, "status 529", []]


def test_what_a_server_does_not_import() -> None:
    modules = run(SERVED)
    of_sdk = [name for name in modules if name.split(".")[0] == "anthropic"]
    assert "anthropic._base_client" in of_sdk
    assert len(of_sdk) < 120
    assert not {"aiohttp", "lark", "rich", "pygments", "watchfiles", "opentelemetry.sdk"} & set(modules)


def test_the_sdk_has_each_name_that_it_always_had() -> None:
    """A name is the same thing, whether it was imported early or late."""
    skipped = {"resources"}  # a stand-in of the SDK's own, whose repr is an address
    names = [name for name in run(EXPORTED) if not name.startswith("__") and name not in skipped]
    lean, usual = (
        run(NAMES.format(first=first, names=names)) for first in ("import gateway.lean", "import gateway")
    )
    assert set(names) < set(lean)
    for name, text in usual.items():
        assert _named(lean[name]) == _named(text)


def _named(text: Any) -> Any:
    """The last part of a class's or function's name: the SDK renames the modules of what it exports."""
    return text.split(" at 0x")[0].rsplit(".", 1)[-1] if isinstance(text, str) else text


def test_an_error_of_the_sdk_is_the_one_that_it_always_was() -> None:
    assert run(ERROR) == [
        "NotFoundError",
        f"Error code: 404 - {{'type': 'error', 'error': {_DETAILS}}}",
        True,
    ]


_DETAILS = "{'type': 'not_found_error', 'message': 'no'}"
