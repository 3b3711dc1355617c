"""Run wrk and read its figures."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("post.lua")
_MARK = "BENCH "


class LoadError(RuntimeError):
    """A round that must not be counted: wrong statuses, broken connections, or no figures at all."""


@dataclass(frozen=True)
class Load:
    """What one run of wrk saw."""

    requests: int
    seconds: float
    bytes: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def parse(output: str) -> Load:
    """Read the JSON line that `post.lua` prints.

    Raises LoadError when the line is missing or any request failed: a gateway that refuses is very fast. No
    answer at all within the time is no failure here, it is a rate of zero.
    """
    for line in output.splitlines():
        if line.startswith(_MARK):
            figures = json.loads(line.removeprefix(_MARK))
            break
    else:
        raise LoadError(f"wrk printed no figures:\n{output}")
    if figures["bad_status"] or figures["socket_errors"]:
        raise LoadError(f"not all requests were answered well: {figures}")
    return Load(
        requests=figures["requests"],
        seconds=figures["duration_us"] / 1e6,
        bytes=figures["bytes"],
        p50_ms=figures["p50_us"] / 1e3,
        p99_ms=figures["p99_us"] / 1e3,
        max_ms=figures["max_us"] / 1e3,
    )


def run(
    url: str, body: Path, headers: Mapping[str, str], *, connections: int, seconds: float, core: int
) -> Load:
    """POST the file `body` to `url` for `seconds`, on `connections` keep-alive connections, from CPU `core`.

    Raises LoadError as `parse` does.
    """
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
    command += ["--timeout", "30s", "--latency", "-s", str(SCRIPT), url, "--", str(body)]
    command += [f"{name}: {value}" for name, value in headers.items()]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds + 60)
    if result.returncode:
        raise LoadError(f"wrk ended with {result.returncode}: {result.stderr or result.stdout}")
    return parse(result.stdout)
