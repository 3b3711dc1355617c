"""The audit trail of a running gateway: who did what, what was refused, and never a secret."""

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway import cli
from gateway.settings import NAMES
from tests.conftest import RELAY_SETTINGS
from tests.support import gateway as gateways
from tests.support.client import Client
from tests.support.gateway import ADMIN_KEY, SOON, Gateway, eventually
from tests.support.keys import KEYS, new_key
from tests.support.recorder import Recorder, answer

ORGANIZATION = "/v1/organizations/workspaces"


class Audited(NamedTuple):
    gateway: Gateway
    upstream: Recorder
    env_file: Path
    logs: Path

    def run(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
        """Run a command beside the server."""
        code = cli.main(["--env-file", str(self.env_file), *arguments])
        return (code, *capsys.readouterr())

    def rows(self, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
        self.gateway.call("GET", "/api/v1/usage")  # which waits for all that is posted
        code, out, _ = self.run(capsys, "audit", "list", "--json", "--limit", "10000")
        assert code == 0
        rows: list[dict[str, Any]] = json.loads(out)["rows"]
        return rows


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    folder = tmp_path_factory.mktemp("audited")
    logs = folder / "logs"
    env_file = folder / "env"
    with Recorder() as upstream, pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            patch.delenv(name, raising=False)
        settings = RELAY_SETTINGS | {"ANTHROPIC_BASE_URL": upstream.url, "LOG_DIR": str(logs)}
        told = settings | {"DATA_DIR": str(folder / "data"), "GATEWAY_ADMIN_KEY": ADMIN_KEY}
        env_file.write_text("".join(f"{name}={value}\n" for name, value in told.items() if name in NAMES))
        with gateways.running(folder, settings, gateways.UNASKED) as gateway:
            yield Audited(gateway, upstream, env_file, logs)


@pytest.fixture(autouse=True)
def _fresh(audited: Audited) -> None:
    audited.upstream.reset()


def told(rows: list[dict[str, Any]]) -> list[tuple[str, str, str, dict[str, Any]]]:
    return [(row["actor"], row["action"], row["target"], row["detail"]) for row in rows]


def test_a_key_from_its_first_to_its_last_day(audited: Audited, capsys: pytest.CaptureFixture[str]) -> None:
    key_id, _ = new_key(audited.gateway, "audited", usd_per_day=5)
    audited.gateway.call("PATCH", f"{KEYS}/{key_id}", {"limits": {"concurrency": 3}})
    audited.gateway.call("POST", f"{KEYS}/{key_id}/rotate", {"overlap_seconds": 60})
    audited.gateway.call("GET", f"{KEYS}/{key_id}")
    audited.gateway.call("DELETE", f"{KEYS}/{key_id}")

    assert [row for row in told(audited.rows(capsys)) if row[2] == key_id] == [
        (
            "key_admin",
            "create_key",
            key_id,
            {"status": 201, "name": "audited", "limits": {}, "budget": {"usd_per_day": 5}},
        ),
        ("key_admin", "update_key", key_id, {"status": 200, "limits": {"concurrency": 3}}),
        ("key_admin", "rotate_key", key_id, {"status": 200, "overlap_seconds": 60}),
        ("key_admin", "revoke_key", key_id, {"status": 200}),
    ]


def test_changes_by_command(audited: Audited, capsys: pytest.CaptureFixture[str]) -> None:
    made = json.loads(audited.run(capsys, "keys", "create", "by hand", "--concurrency", "2", "--json")[1])
    audited.run(capsys, "keys", "rotate", "by hand", "--overlap", "5")
    audited.run(capsys, "keys", "list")
    audited.run(capsys, "keys", "revoke", "by hand")

    assert [row for row in told(audited.rows(capsys)) if row[2] == made["id"]] == [
        ("command", "create_key", made["id"], {"name": "by hand", "limits": {"concurrency": 2}}),
        ("command", "rotate_key", made["id"], {"overlap_seconds": 5}),
        ("command", "revoke_key", made["id"], {}),
    ]


def test_writes_to_the_organisation(audited: Audited, capsys: pytest.CaptureFixture[str]) -> None:
    audited.upstream.reply = lambda _: answer(body=b'{"id":"wrkspc_1"}')
    key_id, app = new_key(audited.gateway, "org", scopes=["organization"])

    app.call("POST", ORGANIZATION, {"name": "not to be kept"})
    app.call("GET", ORGANIZATION)
    audited.upstream.script(answer(409, b"{}"))
    app.call("POST", f"{ORGANIZATION}/wrkspc_1/archive")

    assert [row for row in told(audited.rows(capsys)) if row[0] == key_id] == [
        (key_id, "organization_workspaces_create", ORGANIZATION, {"status": 200}),
        (
            key_id,
            "organization_workspaces_archive",
            f"{ORGANIZATION}/wrkspc_1/archive",
            {"status": 409},
        ),
    ]


def test_paths_that_the_spec_lacks(audited: Audited, capsys: pytest.CaptureFixture[str]) -> None:
    audited.gateway.call("POST", "/v1/brand/new", {"secret": 1})

    assert told(audited.rows(capsys))[-1] == ("key_admin", "unlisted", "/v1/brand/new", {"status": 200})


def test_refusals(audited: Audited, capsys: pytest.CaptureFixture[str]) -> None:
    key_id, app = new_key(audited.gateway, "refused", scopes=["messages"], requests_per_minute=1)
    app.call("GET", "/v1/models/one")
    app.call("POST", KEYS, {"name": "mine"})
    body = {"model": "claude-haiku-4-5", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}
    for _ in range(4):
        app.call("POST", "/v1/messages", body)
    Client(audited.gateway.url, "sk-gw-wrong-0123456789").call("GET", "/v1/models")

    rows = told(audited.rows(capsys))
    assert [row for row in rows if row[0] == key_id] == [
        (key_id, "models_retrieve", "", {"refused": "permission"}),
        (key_id, "create_key", "", {"refused": "permission"}),
        (key_id, "messages_create", "", {"refused": "rpm"}),
    ]
    assert rows[-1] == ("127.0.0.1", "models_list", "", {"refused": "auth"})


def test_the_chain_holds_and_tampering_is_found(
    audited: Audited, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = audited.rows(capsys)
    assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))
    code, out, _ = audited.run(capsys, "audit", "verify")
    assert (code, out) == (0, f"{len(rows)} rows, and the chain is whole.\n")
    code, out, _ = audited.run(capsys, "audit", "verify", "--json")
    assert (code, json.loads(out)) == (0, {"rows": len(rows), "broken_at": None})

    copy = tmp_path / "data"
    copy.mkdir()
    source = sqlite3.connect(audited.gateway.data / "gateway.db")
    target = sqlite3.connect(copy / "gateway.db")
    source.backup(target)
    target.execute("UPDATE audit SET actor = 'key_other' WHERE sequence = 3")
    target.commit()
    source.close()
    target.close()
    env_file = tmp_path / "env"
    env_file.write_text(f"UPSTREAM=sandbox\nDATA_DIR={copy}\n")

    code = cli.main(["--env-file", str(env_file), "audit", "verify"])
    assert (code, capsys.readouterr().err) == (1, "The chain is broken: row 3 was changed or is missing.\n")
    code = cli.main(["--env-file", str(env_file), "audit", "verify", "--json"])
    assert (code, json.loads(capsys.readouterr().out)["broken_at"]) == (1, 3)


def test_the_file_has_the_same_rows_and_no_secret(
    audited: Audited, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = audited.rows(capsys)

    def lines() -> list[dict[str, Any]] | None:
        found = [json.loads(line) for line in (audited.logs / "audit.log").read_text("utf-8").splitlines()]
        return found if len(found) >= len(rows) else None

    written = eventually(lines, SOON)
    assert {(line["sequence"], line["hash"]) for line in written} == {
        (row["sequence"], row["hash"]) for row in rows
    }
    text = (audited.logs / "audit.log").read_text("utf-8")
    assert "sk-" not in text
    assert "not to be kept" not in text
    assert audited.gateway.metric("anthropic_gateway_audit_records_total") >= len(rows) - 10
    assert audited.gateway.metric("anthropic_gateway_audit_write_failures_total") == 0


def test_the_list_for_eyes(audited: Audited, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = audited.run(capsys, "audit", "list", "--limit", "2")

    assert code == 0
    head, *lines = out.splitlines()
    assert head.split() == ["sequence", "at", "actor", "action", "target", "detail"]
    assert len(lines) == 2
    assert os.linesep not in lines[0]
