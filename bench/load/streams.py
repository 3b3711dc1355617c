"""Run `sse_client` in a process of its own and read its figures."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.load.sse_client import Delays
from bench.load.wrk import LoadError


def hold(  # noqa: PLR0913 - what a load is: where, what, how many, how long, how
    url: str,
    body: Path,
    headers: Mapping[str, str],
    *,
    streams: int,
    seconds: float,
    core: int,
    never_read: bool = False,
    meanwhile: Callable[[], None] | None = None,
) -> Delays:
    """Hold `streams` streams at `url` for `seconds`; call `meanwhile` once when all of them are open.

    Raises LoadError when a stream is refused or cut.
    """
    command = ["taskset", "-c", str(core), sys.executable, "-m", "bench.load.sse_client", url, str(body)]
    command += [f"{name}: {value}" for name, value in headers.items()]
    command += ["--streams", str(streams), "--seconds", str(seconds)]
    if never_read:
        command.append("--never-read")
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root
    ) as client:
        opened = client.stdout is not None and client.stdout.readline() == "OPEN\n"
        if opened and meanwhile:
            meanwhile()
        output, errors = client.communicate(timeout=seconds + 120)
    if client.returncode:
        raise LoadError(errors.strip())
    return Delays(**json.loads(output))
