"""Where a worker's time goes: py-spy's samples under load, as microseconds a request for each module.

`python -m bench profile unary` loads one target twice: undisturbed, for its CPU time a request, and with
py-spy attached, for the shares. The samples stay beside the results as collapsed stacks, which speedscope.app
and flamegraph.pl open.

py-spy cannot tell a thread that waits in native code from one that works there, so its samples say how a
thread's time is divided and the operating system's books say how much time that was.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from bench import measure, procfs, upstreams
from bench.options import Options
from bench.payloads import request_body
from bench.servers import StartError
from bench.subjects import ROOT, Bench, Target, running

SAMPLES_PER_SECOND = 500
_FRAME = re.compile(r"^(?P<function>.*) \((?P<file>.*?)(?::\d+)?\)$")
_THREAD = re.compile(r"^thread \((\d+)\)")
_OWN = ("gateway", "handlers", "middleware", "openapi", "bench", "main.py")

_LAYERS = {
    "event loop and its sockets": ("asyncio",),
    "HTTP/1.1 of callers": ("uvicorn", "gateway/protocol.py"),
    "key check": ("gateway/keys/", "middleware/security.py"),
    "limits": ("gateway/limits/", "middleware/limits.py"),
    "body, contract, names": (
        "gateway/json_body.py", "gateway/body.py", "gateway/negotiation.py", "gateway/parameters.py",
        "gateway/resources.py", "middleware/request_validation.py", "middleware/response_validation.py",
        "openapi/",
    ),
    "ledger, budgets, prices": (
        "gateway/accounting.py", "gateway/budgets.py", "gateway/ledger/", "gateway/prices.py",
        "gateway/usage.py",
    ),
    "database": ("gateway/store/", "sqlalchemy", "threading.py"),
    "upstream": (
        "anthropic", "gateway/headers.py", "gateway/http1.py", "gateway/pool.py", "gateway/relay.py",
        "gateway/responses.py", "gateway/sse.py", "gateway/message.py", "gateway/upstream.py", "handlers/",
    ),
    "metrics and log line": ("gateway/logs.py", "gateway/metrics/"),
}  # fmt: skip
_CHAIN = "chain: record, errors, admission, routing, walls"


def layer_of(module: str) -> str:
    """The part of a request's way that a module belongs to."""
    found = (layer for layer, modules in _LAYERS.items() if module.startswith(modules))
    own = module.split("/", maxsplit=1)[0] in _OWN
    return next(found, _CHAIN if own else "the rest of Python and its libraries")


@dataclass(frozen=True)
class Profile:
    """CPU seconds by thread, module and function; `inclusive` counts a function in every stack it is on."""

    threads: defaultdict[str, float]
    modules: defaultdict[str, float]
    functions: defaultdict[str, float]
    inclusive: defaultdict[str, float]

    @property
    def layers(self) -> dict[str, float]:
        """The same by layer."""
        layers: defaultdict[str, float] = defaultdict(float)
        for module, seconds in self.modules.items():
            layers[layer_of(module)] += seconds
        return layers

    @property
    def seconds(self) -> float:
        """CPU time of all threads."""
        return sum(self.threads.values())


@dataclass
class _Thread:
    """The samples of one thread: by stack, the last frame with its line."""

    name: str
    stacks: Counter[tuple[str, ...]]

    def without_sleep(self, awake: float) -> dict[tuple[str, ...], float]:
        """The samples less those of the time that it slept, when it was awake for that share of the time.

        A thread sleeps in one place, and that is where it is seen most.
        """
        last: Counter[str] = Counter()
        for stack, count in self.stacks.items():
            last[stack[-1]] += count
        place, seen = last.most_common(1)[0]
        keep = 1 - min(seen, (1 - awake) * self.stacks.total()) / seen
        return {stack: count * (keep if stack[-1] == place else 1) for stack, count in self.stacks.items()}


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


def aggregate(lines: Iterable[str], times: Mapping[int, procfs.ThreadTime], wall: float) -> Profile:
    """Divide each thread's CPU time by its samples; `times` are those of `wall` seconds, by thread id.

    A line is a collapsed stack, `thread (id): name;frame;frame count`, a frame being `function (file:line)`;
    the last frame is the one that ran.
    """
    profile = Profile(*(defaultdict(float) for _ in range(4)))
    for identity, thread in _threads(lines).items():
        if identity not in times:  # it ended
            continue
        seconds = times[identity].ran
        samples = thread.without_sleep(times[identity].awake(wall))
        total = sum(samples.values())
        if not seconds or not total:
            continue
        profile.threads[thread.name] += seconds
        for stack, count in samples.items():
            share = seconds * count / total
            frames = [match for frame in stack if (match := _FRAME.match(frame))]
            names = [f"{frame['function']} ({frame['file'].removeprefix(f'{ROOT}/')})" for frame in frames]
            profile.modules[module_of(frames[-1]["file"])] += share
            profile.functions[names[-1]] += share
            for name in set(names):
                profile.inclusive[name] += share
    return profile


def _threads(lines: Iterable[str]) -> dict[int, _Thread]:
    threads: dict[int, _Thread] = {}
    for line in lines:
        stack, _, count = line.rstrip().rpartition(" ")
        first, *frames = stack.split(";")
        if (identity := _THREAD.match(first)) and frames:
            thread = threads.setdefault(int(identity.group(1)), _Thread(first, Counter()))
            thread.stacks[tuple(frames)] += int(count)
    return threads


def table(profile: Profile, cpu_us: float, rows: int = 30) -> str:
    """The views as text; `cpu_us` is the CPU time a request that the shares are shares of."""
    views = {
        "by thread": profile.threads,
        "by layer": profile.layers,
        "self time by module": profile.modules,
        "self time by function": profile.functions,
        "time by function with all that it calls": profile.inclusive,
    }
    return "\n\n".join(_view(title, view, cpu_us / profile.seconds, rows) for title, view in views.items())


def _view(title: str, seconds: Mapping[str, float], scale: float, rows: int) -> str:
    largest = sorted(seconds.items(), key=itemgetter(1), reverse=True)[:rows]
    lines = [f"{'µs':>8}  {title}"]
    lines += [f"{value * scale:8.1f}  {name}" for name, value in largest]
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
            # The times of the threads are those of the undisturbed round: to be sampled costs even a sleeping
            # thread a good deal.
            before, begin = procfs.thread_times(target.server.pid), time.perf_counter()
            cpu_us = load.run(options.seconds).cpu_us
            after, wall = procfs.thread_times(target.server.pid), time.perf_counter() - begin
            _record(spy, target.server.pid, options, output, load)
    used = {thread: time.since(before.get(thread)) for thread, time in after.items()}
    profile = aggregate(output.read_text().splitlines(), used, wall)
    if not profile.seconds:
        raise StartError("py-spy saw nothing")
    heading = f"{label}, {scenario}: {cpu_us:.1f} µs CPU a request"
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
    command += ["--rate", str(SAMPLES_PER_SECOND), "--duration", str(round(options.seconds)), "--threads"]
    with subprocess.Popen(
        [*command, "--output", str(output)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as recorder:
        load.run(options.seconds)
        printed, _ = recorder.communicate(timeout=60)
    if recorder.returncode:
        raise StartError(f"py-spy ended with {recorder.returncode}: {printed}")
