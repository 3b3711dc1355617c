"""Ten times as many callers as there is room for: `python -m bench.overload --help`.

Three phases against one gateway, whose upstream takes its time as a model does: as many callers as
MAX_INFLIGHT_REQUESTS lets in; ten times as many, who come again after `retry-after`; then the first ones
alone again. The promises of the last column hold or the exit code is 1.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from bench.stats import percentile
from tests.support import gateway as gateways

TIMES = 10
SLOWER = 3.0
RECOVERY_SECONDS = 2.0
AT_ONCE_SECONDS = 0.5
WINDOW = 0.5
BODY = json.dumps(
    {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
).encode()
ANSWER = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 9},
    }
).encode()


@dataclass
class Seen:
    """What callers saw: when an answer came, its status, and how long it took."""

    answers: list[tuple[float, int, float]] = field(default_factory=list)

    def between(self, start: float, end: float) -> "Seen":
        """The answers of a span of time."""
        return Seen([answer for answer in self.answers if start <= answer[0] < end])

    def seconds(self, *, accepted: bool) -> list[float]:
        """How long the accepted answers took, or the refusals."""
        return [seconds for _, status, seconds in self.answers if (status == 200) is accepted]


async def upstream(delay: float) -> asyncio.Server:
    """A model that takes `delay` seconds to answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await _read(reader)
                await asyncio.sleep(delay)
                head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
                writer.write(head % len(ANSWER) + ANSWER)
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)


async def call(url: str, key: str, until: float, seen: Seen) -> None:
    """One caller, who calls until the time is over and waits as long as a refusal says."""
    parts = urlsplit(url)
    lines = ["POST /v1/messages HTTP/1.1", f"host: {parts.netloc}", f"x-api-key: {key}"]
    lines += ["content-type: application/json", f"content-length: {len(BODY)}", "", ""]
    request = "\r\n".join(lines).encode() + BODY
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        while time.monotonic() < until:
            begun = time.monotonic()
            writer.write(request)
            status, retry_after = await _read(reader)
            now = time.monotonic()
            seen.answers.append((now, status, now - begun))
            if retry_after:
                await asyncio.sleep(retry_after * random.uniform(1.0, 1.25))
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader) -> tuple[int, float]:
    """Read a request or an answer; its status, if it has one, and what it says of coming again."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    await reader.readexactly(int(fields.get(b"content-length", 0)))
    first = head.split(b" ", 2)[1]
    return int(first) if first.isdigit() else 0, float(fields.get(b"retry-after", 0))


async def load(url: str, key: str, callers: int, seconds: float) -> Seen:
    """So many callers for so long."""
    seen, until = Seen(), time.monotonic() + seconds
    await asyncio.gather(*(call(url, key, until, seen) for _ in range(callers)))
    return seen


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    what: str
    value: str
    promise: str
    kept: bool


def findings(normal: Seen, heavy: Seen, after: Seen, ended: float) -> list[Finding]:
    """What the three phases say, beside what is promised."""
    usual = percentile(normal.seconds(accepted=True), 99)
    loaded = percentile(heavy.seconds(accepted=True), 99)
    refused = heavy.seconds(accepted=False)
    statuses = {status for _, status, _ in heavy.answers} - {200}
    slowest = percentile(refused, 99) if refused else 0.0
    back = recovered(after, ended, usual * SLOWER)
    return [
        Finding("p99 with room for all", f"{usual:.3f} s", "", kept=True),
        Finding(
            f"p99 of the accepted, {TIMES} times the callers",
            f"{loaded:.3f} s ({loaded / usual:.2f} times)",
            f"at most {SLOWER:g} times",
            loaded <= usual * SLOWER,
        ),
        Finding(
            "answers a second: room for all, overload",
            f"{_rate(normal):.0f}, {_rate(heavy):.0f}",
            "no collapse: at least half",
            _rate(heavy) >= _rate(normal) / 2,
        ),
        Finding(
            "refused with",
            " ".join(map(str, sorted(statuses))) or "-",
            "503 or 429 alone",
            statuses <= {429, 503},
        ),
        Finding(
            f"p99 of the {len(refused)} refusals",
            f"{slowest:.3f} s",
            f"at once: {AT_ONCE_SECONDS:g} s",
            slowest <= AT_ONCE_SECONDS,
        ),
        Finding(
            "all well again after",
            f"{back:.1f} s",
            f"at most {RECOVERY_SECONDS:g} s",
            back <= RECOVERY_SECONDS,
        ),
    ]


def _rate(seen: Seen) -> float:
    moments = [moment for moment, status, _ in seen.answers if status == 200]
    return len(moments) / max(max(moments) - min(moments), 0.001)


def recovered(after: Seen, ended: float, bound: float) -> float:
    """Seconds after the overload until nobody is refused and the p99 of a window is below the bound."""
    start = ended
    while True:
        window = after.between(start, start + WINDOW)
        accepted = window.seconds(accepted=True)
        if accepted and not window.seconds(accepted=False) and percentile(accepted, 99) <= bound:
            return start - ended
        start += WINDOW
        if not after.between(start, float("inf")).answers:
            return float("inf")


async def measure(options: argparse.Namespace, folder: Path) -> list[Finding]:
    """Start everything, and go through the three phases."""
    server = await upstream(options.delay)
    port = server.sockets[0].getsockname()[1]
    settings = {
        "ANTHROPIC_API_KEY": gateways.UPSTREAM_KEY,
        "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}",
        "MAX_INFLIGHT_REQUESTS": str(options.room),
    }
    loop, running = asyncio.get_running_loop(), gateways.running(folder, settings)
    gateway = await loop.run_in_executor(None, running.__enter__)
    try:
        # A warm start, and no caller at the very edge of what is let in.
        url, key, few = gateway.url, gateways.ADMIN_KEY, max(1, options.room * 9 // 10)
        await load(url, key, few, 2)
        spent = [cpu_seconds(gateway.process.pid)]
        normal = await load(url, key, few, options.seconds / 4)
        spent.append(cpu_seconds(gateway.process.pid))
        heavy = await load(url, key, options.room * TIMES, options.seconds)
        ended = time.monotonic()
        spent.append(cpu_seconds(gateway.process.pid))
        after = await load(url, key, few, RECOVERY_SECONDS * 3)
    finally:
        await loop.run_in_executor(None, running.__exit__, None, None, None)
        server.close()
    costs = [
        f"{(after - before) / len(seen.answers) * 1e6:.0f}"
        for seen, before, after in zip((normal, heavy), spent, spent[1:], strict=False)
    ]
    cost = Finding("CPU an answer: room for all, overload", " µs, ".join(costs) + " µs", "", kept=True)
    return [*findings(normal, heavy, after, ended), cost]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table; the exit code says whether all promises are kept."""
    parser = argparse.ArgumentParser("python -m bench.overload")
    parser.add_argument("--seconds", type=float, default=60, help="of overload")
    parser.add_argument("--room", type=int, default=100, help="MAX_INFLIGHT_REQUESTS")
    parser.add_argument("--delay", type=float, default=0.5, help="seconds that upstream takes to answer")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = uvloop.run(measure(options, Path(folder)))
    for line in found:
        print(f"{'ok' if line.kept else 'NO':3}{line.what:45} {line.value:26} {line.promise}")
    return 0 if all(line.kept for line in found) else 1


if __name__ == "__main__":
    sys.exit(main())
