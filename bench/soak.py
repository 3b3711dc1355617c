"""Mixed load for a long time, while nothing may grow: `python -m bench.soak --help`, or `make soak`.

Messages and streams in both dialects, refusals, upstream's errors, callers who hang up, batches, files and
lists, against the sandbox in a process of its own. Each second memory, descriptors, tasks and the time of a
call are read. What they rise by, by the median of all slopes between two of their values (Theil-Sen: a slow
minute of the machine bends it little), must stay within bounds; each answer must be the one expected; and at
the end nothing may be left behind.
"""

import argparse
import contextlib
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.subjects import ROOT
from tests.support import gateway as gateways
from tests.support.client import Client
from tests.support.gateway import Gateway
from tests.support.keys import new_key

CALLERS = 8
PAUSE_SECONDS = 0.1
"""Between two calls of a caller: some 50 calls a second, which leave the machine time for other things."""

WARM_UP = 0.25
"""Part of the run that is not looked at: caches fill, the database's pages come into memory."""

MEGABYTE = 1_000_000
FORM = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.txt"\r\n\r\n%b\r\n--b--\r\n'
FORM_TYPE = [("content-type", "multipart/form-data; boundary=b")]


def message(text: str = "Write 50 words", model: str = "claude-haiku-4-5") -> dict[str, object]:
    """A body that both dialects take."""
    return {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": text}]}


class UnexpectedError(AssertionError):
    """An answer that is not the one expected."""


class Caller:
    """One caller and what it does.

    Args:
        client: has a key of its own.
        dice: decides, the same each run, what comes next.
    """

    def __init__(self, client: Client, dice: random.Random) -> None:
        self._client = client
        self._dice = dice
        self.done: Counter[str] = Counter()
        self.metered = 0
        self._acts: list[tuple[int, Callable[[], None]]] = [
            (30, self._messages),
            (25, self._streams),
            (10, self._refusals),
            (10, self._errors),
            (10, self._hang_ups),
            (5, self._lists),
            (5, self._files),
            (2, self._batches),
        ]

    def act(self) -> None:
        """Do one thing.

        Raises:
            UnexpectedError: the answer was another.
        """
        weights, acts = zip(*self._acts, strict=True)
        (act,) = self._dice.choices(acts, weights)
        act()
        self.done[act.__name__.strip("_")] += 1

    def _messages(self) -> None:
        for path in ("/v1/messages", "/api/v1/messages/create"):
            self._expect(200, "POST", path, message())
        self._expect(200, "POST", "/v1/messages/count_tokens", message() | {"max_tokens": 1})
        self.metered += 2

    def _streams(self) -> None:
        for path, mark in (
            ("/v1/messages", b"event: message_stop"),
            ("/api/v1/messages/stream", b'"message_stop"'),
        ):
            body = message() | ({"stream": True} if path == "/v1/messages" else {})
            answer = self._client.call("POST", path, body)
            if answer.status != 200 or mark not in answer.body:
                raise UnexpectedError(f"stream of {path}: {answer.status} {answer.body[-200:]!r}")
        self.metered += 2

    def _refusals(self) -> None:
        self._expect(400, "POST", "/v1/messages", b"{")
        self._expect(400, "POST", "/api/v1/messages/create", {"model": 5})
        self._expect(404, "GET", "/v1/nothing")
        answer = self._client.call("GET", "/v1/models", with_key=False)
        if answer.status != 401:
            raise UnexpectedError(f"no key: {answer.status}")

    def _errors(self) -> None:
        status = self._dice.choice([500, 529])
        self._expect(status, "POST", "/v1/messages", message(model=f"sandbox-{status}"))
        self._expect(status, "POST", "/v1/messages", message(model=f"sandbox-{status}") | {"stream": True})
        self.metered += 2

    def _hang_ups(self) -> None:
        body = message(model="sandbox-slow-stream") | {"stream": True}
        with self._client.open("POST", "/v1/messages", body) as stream:
            stream.until(b"message_start")
        self._client.begin("POST", "/v1/messages", message(model="sandbox-slow-500ms")).close()
        self.metered += 1  # the second may have left before it was booked

    def _lists(self) -> None:
        for path in ("/v1/models", "/v1/files", "/v1/messages/batches", "/api/v1/usage", "/api/v1/batches"):
            self._expect(200, "GET", path)

    def _files(self) -> None:
        content = self._dice.randbytes(100_000).hex().encode()
        made = self._expect(200, "POST", "/api/v1/files/upload", FORM % content, FORM_TYPE, or_status=201)
        path = "/api/v1/files/" + re.search(rb'"id":\s*"(file_[^"]+)"', made).group(1).decode()  # type: ignore[union-attr]
        if self._expect(200, "GET", f"{path}/content") != content:
            raise UnexpectedError("a file came back changed")
        self._expect(200, "DELETE", path)

    def _batches(self) -> None:
        requests = [{"custom_id": f"r{number}", "params": message()} for number in range(3)]
        made = self._expect(200, "POST", "/v1/messages/batches", {"requests": requests})
        path = "/v1/messages/batches/" + re.search(rb'"id":\s*"(msgbatch_[^"]+)"', made).group(1).decode()  # type: ignore[union-attr]
        deadline = time.monotonic() + 30
        while b'"ended"' not in self._expect(200, "GET", path):
            if time.monotonic() > deadline:
                raise UnexpectedError("a batch does not end")
            time.sleep(0.1)
        self._expect(200, "GET", f"{path}/results")
        self._expect(200, "DELETE", path)

    def _expect(
        self,
        status: int,
        method: str,
        path: str,
        body: bytes | dict[str, object] | None = None,
        headers: Sequence[tuple[str, str]] = (),
        *,
        or_status: int = 0,
    ) -> bytes:
        if isinstance(body, bytes) and not headers:
            headers = [("content-type", "application/json")]
        answer = self._client.call(method, path, body, headers)
        if answer.status not in (status, or_status):
            raise UnexpectedError(f"{method} {path}: {answer.status}, not {status}: {answer.body[:300]!r}")
        return answer.body


@dataclass
class Samples:
    """What was read, second by second."""

    moments: list[float] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, **values: float) -> None:
        """Add what was read now."""
        self.moments.append(time.monotonic())
        for name, value in values.items():
            self.values.setdefault(name, []).append(value)

    def level(self, name: str) -> float:
        """The usual value after the warm-up."""
        return median(self.values[name][self._first :])

    def rise(self, name: str) -> float:
        """By how much a value rises over the run after the warm-up."""
        moments, values = self.moments[self._first :], self.values[name][self._first :]
        step = max(1, len(values) // 300)  # the slopes are as many as the values' square
        return slope(moments[::step], values[::step]) * (moments[-1] - moments[0])

    @property
    def _first(self) -> int:
        return int(len(self.moments) * WARM_UP)


def slope(moments: Sequence[float], values: Sequence[float]) -> float:
    """The median of the slopes between all pairs (Theil 1950, Sen 1968).

    Raises:
        statistics.StatisticsError: there are fewer than two.
    """
    pairs = list(zip(moments, values, strict=True))
    return median((y - b) / (x - a) for i, (a, b) in enumerate(pairs) for x, y in pairs[i + 1 :])


ALLOWED: dict[str, Callable[[float], float]] = {
    "memory (MB)": lambda level: 0.05 * level + 5,
    "descriptors": lambda level: 0.1 * level + 3,
    "tasks": lambda level: 0.1 * level + 3,
    "time of a call (ms)": lambda level: 1.0 * level + 20,
}
"""How much each may rise, by its level: noise, and for the last the machine's other work."""


def read(gateway: Gateway, samples: Samples) -> None:
    """Read everything once."""
    begun = time.monotonic()
    if gateway.call("POST", "/v1/messages", message("Hi")).status != 200:
        raise UnexpectedError("the measured call failed")
    took = time.monotonic() - begun
    samples.add(
        **{
            "memory (MB)": gateway.memory() / MEGABYTE,
            "descriptors": len(list(Path(f"/proc/{gateway.process.pid}/fd").iterdir())),
            "tasks": gateway.metric("anthropic_gateway_tasks"),
            "time of a call (ms)": took * 1000,
        }
    )


@contextlib.contextmanager
def sandboxed(folder: Path) -> Iterator[str]:
    """The sandbox as a process of its own; yields its address."""
    command = [sys.executable, "main.py", "sandbox", "--port", "0", "--batch-seconds", "1"]
    with (folder / "sandbox").open("w+") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output)
        try:
            yield gateways.eventually(lambda: _address(folder / "sandbox"), 30)
        finally:
            process.terminate()
            process.wait()


def _address(output: Path) -> str | None:
    found = re.search(r"http://\S+", output.read_text())
    return found.group() if found else None


def soak(folder: Path, seconds: float) -> bool:
    """Run it, print a table, and return whether all held."""
    with sandboxed(folder) as upstream:
        settings = {
            "ANTHROPIC_API_KEY": gateways.UPSTREAM_KEY,
            "ANTHROPIC_BASE_URL": upstream,
            "ANTHROPIC_MAX_RETRIES": "0",
        }
        with gateways.running(folder, settings) as gateway:
            return _soak(gateway, seconds)


def _soak(gateway: Gateway, seconds: float) -> bool:
    callers = [
        Caller(
            new_key(gateway, f"caller {number}", concurrency=4, usd_per_day=10_000)[1], random.Random(number)
        )
        for number in range(CALLERS)
    ]
    end, faults, samples = time.monotonic() + seconds, list[str](), Samples()

    def work(caller: Caller) -> None:
        while time.monotonic() < end and not faults:
            try:
                caller.act()
            except Exception as fault:
                faults.append(f"{type(fault).__name__}: {fault}")
            time.sleep(PAUSE_SECONDS)

    threads = [threading.Thread(target=work, args=(caller,)) for caller in callers]
    for thread in threads:
        thread.start()
    while time.monotonic() < end and not faults:
        read(gateway, samples)
        time.sleep(1)
    for thread in threads:
        thread.join()
    time.sleep(2)
    faults += _left_behind(gateway)
    for name, allowed in ALLOWED.items():
        level, rise = samples.level(name), samples.rise(name)
        kept = rise <= allowed(level)
        line = f"level {level:8.1f}   rises {rise:+8.2f}   may {allowed(level):.2f}"
        print(f"{'ok' if kept else 'NO':3}{name:20} {line}")
        faults += [] if kept else [f"{name} rises by {rise:.2f}"]
    done = sum((caller.done for caller in callers), Counter[str]())
    print(f"   {sum(done.values())} rounds in {seconds:.0f} s: {dict(done.most_common())}")
    for fault in faults:
        print(f"NO {fault}", file=sys.stderr)
    return not faults


def _left_behind(gateway: Gateway) -> list[str]:
    """What must be nothing once all callers are gone."""
    metrics = gateway.call("GET", "/metrics").body.decode()
    names = ("queue_depth", "db_queue_depth", "budget_reserved_dollars", "audit_write_failures_total")
    left = {
        name: sum(
            float(v)
            for v in re.findall(rf"^anthropic_gateway_{name}(?:{{.*}})? (\S+)$", metrics, re.MULTILINE)
        )
        for name in names
    }
    left["inflight_requests"] = gateway.metric("anthropic_gateway_inflight_requests") - 1
    tracebacks = gateway.output.read_text().count("Traceback")
    return [f"{name} is {value:g} at the end" for name, value in left.items() if value] + (
        [f"{tracebacks} tracebacks in the log"] if tracebacks else []
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line; the exit code says whether all held."""
    parser = argparse.ArgumentParser("python -m bench.soak")
    parser.add_argument("--seconds", type=float, default=600)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        return 0 if soak(Path(folder), options.seconds) else 1


if __name__ == "__main__":
    sys.exit(main())
