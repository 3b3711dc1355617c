"""What a caller sees of an answer, and what a gateway must look like once a fault is over."""

import http.client
import json
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.errors import error_class, error_type
from gateway.metrics.names import PREFIX
from tests.support.client import Client, Stream
from tests.support.gateway import Gateway, eventually
from tests.support.recorder import Recorder

SETTLED = 10.0
"""Seconds until what a fault left behind must be gone; time-outs are fractions of a second here."""

MESSAGE = {
    "model": "claude-sonnet-4-20250514",
    "max_tokens": 5,
    "messages": [{"role": "user", "content": "Hi"}],
}


SLACK = {"descriptors": 9, "upstream connections": 3}
"""What may be more than at first, for the database's readers and for calls at the same time. All faults of a
file meet one gateway: what each of them leaks is seen."""


GAUGES = ("inflight_requests", "tasks", "queue_depth", "db_queue_depth", "budget_reserved_dollars")


@dataclass(frozen=True)
class Kind:
    """One way to ask for a message."""

    name: str
    path: str
    streamed: bool
    body: dict[str, Any]

    @property
    def native(self) -> bool:
        return self.path.startswith("/v1")


KINDS = (
    Kind("native", "/v1/messages", False, MESSAGE),
    Kind("native stream", "/v1/messages", True, MESSAGE | {"stream": True}),
    Kind("envelope", "/api/v1/messages/create", False, MESSAGE),
    Kind("envelope stream", "/api/v1/messages/stream", True, MESSAGE),
)


@dataclass(frozen=True)
class Seen:
    """An answer as its caller saw it; `whole` unless the connection broke before its end."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool

    def outcome(self, *, native: bool) -> str:
        """The answer in a few words; fails where it has not the shape of its dialect."""
        if self.status >= 400:
            return self._refusal(native=native)
        said = str(self.status)
        if error := self._stream_error():
            said += f", then error {error}"
        return said if self.whole else f"{said}, then cut"

    def _refusal(self, *, native: bool) -> str:
        assert self.whole
        if native and self.headers["content-type"] != "application/json":
            return f"{self.status} as it came"
        assert self.headers["content-type"] == "application/json"
        answer, request_id = json.loads(self.body), self.headers["x-request-id"]
        if native:
            kind = answer["error"]["type"]
            assert answer["type"] == "error"
            assert kind == error_type(self.status)
        else:
            kind = answer["metadata"]["error_type"]
            assert answer["success"] is False
            assert answer["metadata"] == {"error_type": error_class(self.status), "request_id": request_id}
        after = self.headers.get("retry-after")
        return f"{self.status} {kind}" + (f", retry-after {after}" if after else "")

    def _stream_error(self) -> str | None:
        if "text/event-stream" not in self.headers.get("content-type", ""):
            return None
        assert self.body.endswith(b"\n\n") or not self.whole
        last = self.body.rstrip(b"\n").rpartition(b"data: ")[2]
        payload = json.loads(last) if last.startswith(b'{"type":"error"') else {}
        return payload["error"]["type"] if payload else None


def ask(client: Client, kind: Kind, headers: list[tuple[str, str]] | None = None) -> Seen:
    """Make one call and take what comes, whole or not."""
    return take(client.begin("POST", kind.path, kind.body, headers or []))


def take(connection: http.client.HTTPConnection) -> Seen:
    """The answer to a request that was sent."""
    stream = Stream(connection)
    parts, whole = [], True
    try:
        while part := stream.chunk():
            parts.append(part)
    except (http.client.IncompleteRead, ConnectionError) as cut:
        parts.append(cut.partial if isinstance(cut, http.client.IncompleteRead) else b"")
        whole = False
    finally:
        stream.hang_up()
    headers = dict(stream.headers)
    if whole and "content-length" in headers:
        whole = len(b"".join(parts)) == int(headers["content-length"])
    return Seen(stream.status, headers, b"".join(parts), whole)


_SAMPLE = re.compile(
    rf"^(?:{PREFIX})?(?P<name>\w+_total)(?:{{(?P<labels>.*)}})? (?P<value>\S+)$", re.MULTILINE
)
_TELLING = {"code", "reason", "side", "outcome"}
_WELL = ('code="200"}', 'outcome="ok"}')
_ALWAYS = {"cost_dollars_total", "tokens_total", "audit_records_total"}


def counters(gateway: Gateway) -> dict[str, float]:
    """All counters, by name and the labels that tell what went wrong."""
    found: dict[str, float] = {}
    for sample in _SAMPLE.finditer(gateway.call("GET", "/metrics").body.decode()):
        if sample["name"] in _ALWAYS or sample["name"].startswith(("python_", "process_")):
            continue
        labels = [
            f'{name}="{value}"'
            for name, value in re.findall(r'(\w+)="([^"]*)"', sample["labels"] or "")
            if name in _TELLING
        ]
        name = sample["name"] + (f"{{{','.join(labels)}}}" if labels else "")
        found[name] = found.get(name, 0.0) + float(sample["value"])
    return found


def risen(before: dict[str, float], after: dict[str, float]) -> list[str]:
    """Which counters rose, but for those of calls that went well."""
    return sorted(
        name
        for name, value in after.items()
        if value > before.get(name, 0.0)
        and not name.endswith(('status="200"}', 'code="200"}', 'outcome="ok"}'))
    )


class Health:
    """What a gateway looks like at rest, taken when it is made; `check` fails until it looks so again.

    Args:
        gateway: at rest, after calls of each kind have opened what stays open.
        upstream: the upstream, where it counts its connections.
    """

    def __init__(self, gateway: Gateway, upstream: Recorder | None = None) -> None:
        self._gateway = gateway
        self._upstream = upstream
        eventually(self._all_settled, SETTLED)  # a call is written down some milliseconds after its answer
        self._base = self._now()

    def _all_settled(self) -> bool | None:
        now = self._now()
        return not (now["budget_reserved_dollars"] or now["db_queue_depth"]) or None

    def check(self) -> None:
        """Fails unless nothing is left: no call, task, place in line, reservation, row, descriptor."""
        last: dict[str, float] = {}
        base = {name: value + SLACK.get(name, 0) for name, value in self._base.items()}

        def at_rest() -> bool | None:
            nonlocal last
            last = self._now()
            return all(last[name] <= most for name, most in base.items()) or None

        try:
            eventually(at_rest, SETTLED)
        except AssertionError:
            left = {name: (base[name], last[name]) for name in base if last[name] > base[name]}
            raise AssertionError(f"left behind (most, now): {left}") from None

    def _now(self) -> dict[str, float]:
        page = self._gateway.call("GET", "/metrics").body.decode()
        values = {
            name: sum(
                float(value)
                for value in re.findall(rf"^{PREFIX}{name}(?:{{[^}}]*}})? (\S+)$", page, re.MULTILINE)
            )
            for name in (
                "inflight_requests",
                "tasks",
                "queue_depth",
                "db_queue_depth",
                "budget_reserved_dollars",
            )
        }
        # A connection that is kept for the next call is no leak: upstream has its other end.
        kept = self._upstream.open_connections if self._upstream else 0
        values["descriptors"] = len(list(Path(f"/proc/{self._gateway.process.pid}/fd").iterdir())) - kept
        values["upstream connections"] = kept
        values["unsettled rows"] = len(rows(self._gateway.data, "status = 'started'"))
        return values


def rows(data: Path, condition: str = "1 = 1") -> list[sqlite3.Row]:
    """Rows of the ledger, oldest first."""
    with closing(sqlite3.connect(f"file:{data / 'gateway.db'}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        return list(database.execute(f"SELECT * FROM calls WHERE {condition} ORDER BY id"))


def booking(row: sqlite3.Row) -> str:
    """What the ledger says a call cost."""
    if not row["cost"]:
        return "nothing"
    return "estimate" if row["estimated"] else "exact"
