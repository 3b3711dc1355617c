"""Where a worker's time goes: py-spy's samples under load, as microseconds a request for each module.

`python -m bench profile unary` loads one target twice: undisturbed, for its CPU time a request, and with
py-spy attached, for the shares. The samples stay beside the results as collapsed stacks, which speedscope.app
and flamegraph.pl open.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench import measure, upstreams
from bench.options import Options
from bench.payloads import request_body
from bench.servers import StartError
from bench.subjects import ROOT, Bench, Target, running

SAMPLES_PER_SECOND = 500
_FRAME = re.compile(r"^(?P<function>.*) \((?P<file>.*?)(?::\d+)?\)$")
# Last frames of threads that only wait: py-spy cannot always tell them from threads that run.
_WAITING = frozenset({"threading.py", "queue.py", "concurrent/futures/thread.py", "selectors.py"})
_OWN = ("gateway", "handlers", "middleware", "openapi", "bench", "main.py")


@dataclass(frozen=True)
class Profile:
    """Samples by module and by function; `inclusive` counts a function in every stack that it is on."""

    samples: int
    modules: Counter[str]
    functions: Counter[str]
    inclusive: Counter[str]


def module_of(file: str) -> str:
    """The name under which a file's time is counted: our own by path, a library by its package.

    A file outside any package (the standard library's, a native library's) keeps its own name.
    """
    path = file.replace(str(ROOT) + "/", "")
    for marker in ("site-packages/", "dist-packages/"):
        path = path.rpartition(marker)[2]
    first, slash, _ = path.lstrip("/").partition("/")
    if path.startswith("/") or not slash:
        return path.rpartition("/")[2] or file
    return path if first in _OWN else first


def aggregate(lines: Iterable[str]) -> Profile:
    """Add up collapsed stacks: `frame;frame;frame count`, a frame being `function (file:line)`.

    The last frame is the one that ran. A frame that names no file (a thread) is left out, and
    so is a stack that ends in a wait.
    """
    profile = Profile(0, Counter(), Counter(), Counter())
    samples = 0
    for line in lines:
        stack, _, count_text = line.rstrip().rpartition(" ")
        frames = [frame for text in stack.split(";") if (frame := _FRAME.match(text))]
        if not frames or frames[-1]["file"] in _WAITING:
            continue
        count = int(count_text)
        samples += count
        names = [f"{frame['function']} ({frame['file'].removeprefix(f'{ROOT}/')})" for frame in frames]
        profile.modules[module_of(frames[-1]["file"])] += count
        profile.functions[names[-1]] += count
        for name in set(names):
            profile.inclusive[name] += count
    return Profile(samples, profile.modules, profile.functions, profile.inclusive)


def table(profile: Profile, cpu_us: float, rows: int = 30) -> str:
    """The three views as text; `cpu_us` is the CPU time a request that the shares are shares of."""
    parts = [
        _view("self time by module", profile.modules, profile.samples, cpu_us, rows),
        _view("self time by function", profile.functions, profile.samples, cpu_us, rows),
        _view("time by function with all that it calls", profile.inclusive, profile.samples, cpu_us, rows),
    ]
    return "\n\n".join(parts)


def _view(title: str, counts: Mapping[str, int], samples: int, cpu_us: float, rows: int) -> str:
    lines = [f"{'µs':>8}  {'share':>6}  {title}"]
    for name, count in Counter(counts).most_common(rows):
        lines.append(f"{count / samples * cpu_us:8.1f}  {count / samples:6.1%}  {name}")
    return "\n".join(lines)


def run(options: Options, scenario: str, label: str, output: Path) -> str:
    """Profile the target `label` under the load of `scenario` ("unary" or "stream-burst"); write the stacks.

    Raises StartError when py-spy is missing or fails, LoadError when the load does, LookupError when
    there is no such target.
    """
    beside_python = str(Path(sys.executable).parent)
    if not (spy := shutil.which("py-spy", path=f"{beside_python}:{os.environ['PATH']}")):
        raise StartError("py-spy is not installed: pip install py-spy")
    streaming = scenario == "stream-burst"
    body = options.folder / "request.json"
    body.write_bytes(request_body(stream=streaming))
    upstream: AbstractContextManager[int]
    upstream = (upstreams.streaming if streaming else upstreams.static)(options.folder, options.load_core)
    with upstream as port:
        bench = Bench.of(options, port, streaming=streaming)
        with running(bench, options.subjects) as targets:
            target = next((target for target in targets if target.label == label), None)
            if target is None or target.server is None:
                raise LookupError(f"no target {label!r}, only {[target.label for target in targets]}")
            url = target.stream_url if streaming else target.url
            load = _Load(bench, target, url, body, options)
            load.run(1)
            cpu_us = load.run(options.seconds).cpu_us
            _record(spy, target.server.pid, options, output, load)
    profile = aggregate(output.read_text().splitlines())
    if not profile.samples:
        raise StartError("py-spy saw nothing")
    heading = f"{label}, {scenario}: {cpu_us:.1f} µs CPU a request, {profile.samples} samples"
    return f"{heading}\n\n{table(profile, cpu_us)}"


@dataclass(frozen=True)
class _Load:
    bench: Bench
    target: Target
    url: str
    body: Path
    options: Options

    def run(self, seconds: float) -> measure.Round:
        return measure.loaded(
            self.bench,
            self.target,
            self.url,
            self.body,
            connections=self.options.connections,
            seconds=seconds,
        )


def _record(spy: str, pid: int, options: Options, output: Path, load: _Load) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    command = ["taskset", "-c", str(options.load_core), spy, "record", "--pid", str(pid), "--format", "raw"]
    command += ["--rate", str(SAMPLES_PER_SECOND), "--duration", str(round(options.seconds))]
    with subprocess.Popen(
        [*command, "--output", str(output)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as recorder:
        load.run(options.seconds + 1)
        printed, _ = recorder.communicate(timeout=60)
    if recorder.returncode:
        raise StartError(f"py-spy ended with {recorder.returncode}: {printed}")
