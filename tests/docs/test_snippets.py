"""Every command, program and file that README and docs show is run by a test, or says why it is not.

Is a new one missing here? Run it in `PRINTED`, name the test that runs it, or give the reason.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gateway.prices import PriceTable
from tests.support.gateway import ADMIN_KEY, ROOT, Gateway
from tests.support.snippets import ADDRESS, snippet, snippets

HELLO = r'\{"success":true,"data":\{.*Hello, Claude!.*\}\}\n?'
PRINTED = {
    "README.md > First calls > bash #2": HELLO,
    "README.md > First calls > python": r".*Hello, Claude!.*\n",
    "README.md > A key for each app > bash": r'\{"success":true,.*"key":"sk-gw-.*\}\n?',
    "docs/async.md > With curl and jq > bash": r"succeeded\n.*Suggest a dinner.*\ndeleted\n",
    "docs/batches.md > With an SDK > python": (
        r"(monday|tuesday) .*Suggest.*\n(monday|tuesday) .*Suggest.*\n"
    ),
    "docs/batches.md > With curl and jq > bash": "monday\n",
    "docs/files.md > With an SDK > python": r".*What is there on Monday\?.*\n",
    "docs/files.md > With curl and jq > bash": r"21\n(.*\n)*meals\.txt\n(.*\n)*file_deleted\n",
    "docs/idempotency.md > With curl > bash": r"idempotency-replayed: true\r?\n",
    "docs/keys.md > Make and manage them > bash": r'\{"success":true,.*"key":"sk-gw-.*\}\n?',
    "docs/quickstart.md > curl > bash": r'\{"success":true,"data":\{.*Suggest a dinner.*\}\}\n?',
    "docs/quickstart.md > curl > bash #2": r'(?s:.*)data: \{"type":"text",(?s:.*)"message_stop"(?s:.*)',
    "docs/quickstart.md > Python: the official SDK > python": r"(?s:.*Suggest a dinner\.){2}(?s:.*)",
    "docs/streaming.md > With curl > bash": r'(?s:.*)data: \{"type":"text",(?s:.*)',
}
"""Where it runs here, against the sandbox: all that it prints."""

COMMANDS = (
    "docs/keys.md > Make and manage them > bash #2",
    "docs/keys.md > The audit trail > bash",
    "docs/quickstart.md > Agent tools and frameworks > bash",
)
"""Run here in this order, on the database of one gateway that does not run."""

ERRORS = ("docs/errors.md > Errors > json", "docs/errors.md > Errors > json #2")
PRICES = "docs/prices.md > Your own prices > toml"

ELSEWHERE = {
    "README.md > Anthropic Gateway > bash": "tests/docs/test_make_run.py",
    "README.md > First calls > bash": "tests/docs/test_make_run.py",
    "README.md > First calls > bash #3": "tests/browser/test_example_page.py",
    "README.md > First calls > bash #4": "tests/clients/test_client_snippets.py",
    "README.md > First calls > python #2": "tests/clients/test_client_snippets.py",
    "README.md > With a real key > bash": "tests/docs/test_settings.py",
    "README.md > With a real key > bash #2": "tests/container/test_container.py",
    "README.md > With a real key > bash #3": "tests/docs/test_requirements.py",
    "docs/backup.md > Backup > bash": "tests/unit/test_backup.py",
    "docs/batches.md > A webhook instead of asking > json": "tests/api/test_batches_kept.py",
    "docs/commands.md > Commands > bash": "tests/api/test_cli_batch.py",
    "docs/deployment.md > With Compose > bash": "tests/container/test_container.py",
    "docs/deployment.md > With Compose > text": "tests/container/test_container.py",
    "docs/deployment.md > HTTPS > nginx": "tests/docs/test_proxies.py",
    "docs/deployment.md > HTTPS > haproxy": "tests/docs/test_proxies.py",
    "docs/deployment.md > HTTPS > caddyfile": "tests/docs/test_proxies.py",
    "docs/deployment.md > HTTPS > yaml": "tests/docs/test_proxies.py",
    "docs/deployment.md > Two replicas > bash": "tests/container/test_scale.py",
    "docs/quickstart.md > Quick starts > bash": "tests/docs/test_make_run.py",
    "docs/quickstart.md > TypeScript: the official SDK > ts": "tests/clients/test_client_snippets.py",
    "docs/quickstart.md > A page in a browser > bash": "tests/browser/test_example_page.py",
    "docs/quickstart.md > Python > python": "tests/clients/test_client_snippets.py",
    "docs/quickstart.md > TypeScript > ts": "tests/clients/test_client_snippets.py",
    "docs/quickstart.md > Go > go": "tests/clients/test_client_snippets.py",
    "docs/streaming.md > In a browser > js": "tests/browser/test_streaming.py",
    "docs/streaming.md > fetch: nothing to install > js": "tests/browser/test_streaming.py",
    "docs/streaming.md > extended-eventsource > js": "tests/browser/test_streaming.py",
    "docs/streaming.md > sse.js > js": "tests/browser/test_streaming.py",
    "docs/upgrade.md > Back > bash": "tests/unit/test_backup.py",
}
NOT_RUN = {
    "docs/backup.md > Backup > bash #2": "the same commands in a container, which has no other file system",
    "docs/backup.md > PostgreSQL > bash": "PostgreSQL's own tools, on a database of the reader's",
    "docs/backup.md > PostgreSQL > bash #2": "PostgreSQL's own tools, on a database of the reader's",
    "docs/deployment.md > With Compose > bash #2": "copies a file of the reader's into a volume of his",
    "docs/deployment.md > HTTPS > bash": "two settings; tests/unit/test_settings.py has them",
    "docs/deployment.md > Metrics and dashboards > bash": "starts Grafana, whose image is not tested",
    "docs/deployment.md > A Prometheus and a Grafana of your own > yaml": "tests/monitoring has it checked",
    "docs/deployment.md > A Prometheus and a Grafana of your own > yaml #2": "tests/monitoring checks it",
    "docs/qnap.md > Get the image there > bash": "builds for another processor",
    "docs/qnap.md > Data in a shared folder > bash": "changes the owner of a folder of a NAS",
    "docs/tracing.md > Tracing > bash": "two variables of OpenTelemetry's own",
    "docs/upgrade.md > Back > bash #2": "names of files that only the reader has",
}
"""Why it is not run."""


def test_every_snippet_is_accounted_for() -> None:
    told = [*PRINTED, *COMMANDS, *ERRORS, PRICES, *ELSEWHERE, *NOT_RUN]

    assert sorted(told) == sorted(snippets())
    assert [test for test in ELSEWHERE.values() if not (ROOT / test).exists()] == []


@pytest.mark.parametrize("place", PRINTED)
def test_snippet(sandboxed: Gateway, tmp_path: Path, place: str) -> None:
    code = snippet(place)
    assert ADDRESS in code
    # The gateway is shared: a name that a page gives to a key may be taken there already.
    code = code.replace(ADDRESS, sandboxed.url).replace('"name": "kitchen"', f'"name": "{tmp_path.name}"')

    printed = run(place, code, tmp_path, KEY=ADMIN_KEY, ADMIN_KEY=ADMIN_KEY)

    assert re.fullmatch(PRINTED[place], printed), printed
    assert_files(place, tmp_path)


def test_commands(tmp_path: Path) -> None:
    settings = {"UPSTREAM": "sandbox", "DATA_DIR": str(tmp_path), "KEY": "k", "GATEWAY_ADMIN_KEY": ADMIN_KEY}
    printed = [run(place, snippet(place), ROOT, **settings) for place in COMMANDS]

    assert re.search(r"sk-gw-\S{20,}", printed[0])
    assert "kitchen" in printed[1]


def test_errors_look_as_shown(sandboxed: Gateway) -> None:
    envelope, native = (json.loads(snippet(place)) for place in ERRORS)
    refused = sandboxed.call("GET", "/api/v1/batches?limit=0").json()
    unread = sandboxed.call("POST", "/v1/messages", b"{").json()

    assert shape(refused) == shape(envelope)
    assert (refused["error"], refused["metadata"]["error_type"]) == (
        envelope["error"],
        envelope["metadata"]["error_type"],
    )
    assert shape(unread) == shape(native)
    assert unread["error"]["type"] == native["error"]["type"]


def shape(value: object) -> object:
    """The names in a JSON value, in their order."""
    return {name: shape(part) for name, part in value.items()} if isinstance(value, dict) else None


def test_prices_of_ones_own_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(snippet(PRICES))

    assert PriceTable.load(file).models == PriceTable.load().models
    assert PriceTable.load(file).version == tomllib.loads(snippet(PRICES))["version"]


def run(place: str, code: str, folder: Path, **variables: str) -> str:
    """What a snippet prints; it fails where a command in it fails."""
    if "python" in place.rpartition(" > ")[2]:
        command = [sys.executable, "-W", "error", "-c"]
    else:
        for name in ("curl", "jq"):
            program(name)
        command = [program("bash"), "-euo", "pipefail", "-c"]
    ended = subprocess.run(
        [*command, code],
        cwd=folder,
        env={"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", **variables},
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended
    return ended.stdout


def assert_files(place: str, folder: Path) -> None:
    """What the commands of a place have written."""
    if place == "docs/files.md > With curl and jq > bash":
        assert (folder / "copy.txt").read_bytes() == (folder / "meals.txt").read_bytes()
    elif place == "docs/batches.md > With curl and jq > bash":
        assert len((folder / "results.jsonl").read_text().splitlines()) == 1


def program(name: str) -> str:
    """The path of a program. Without it the test is skipped, in CI it fails."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")
    return found
