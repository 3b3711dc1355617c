"""From py-spy's stacks to a table."""

import pytest

from bench import profiler
from bench.procfs import ThreadTime
from bench.subjects import ROOT


@pytest.mark.parametrize(
    ("file", "module"),
    [
        ("gateway/ledger.py", "gateway/ledger.py"),
        (f"{ROOT}/handlers/native/messages.py", "handlers/native/messages.py"),
        ("/opt/venv/lib/python3.11/site-packages/aiohttp/client.py", "aiohttp"),
        ("connexion/middleware/routing.py", "connexion"),
        ("/usr/lib/python3.11/typing.py", "typing.py"),
        ("typing.py", "typing.py"),
        ("<string>", "<string>"),
    ],
)
def test_time_counts_for_our_module_or_for_the_library(file: str, module: str) -> None:
    assert profiler.module_of(file) == module


@pytest.mark.parametrize(
    ("module", "layer"),
    [
        ("uvicorn", "HTTP/1.1 of callers"),
        ("gateway/ledger/book.py", "ledger, budgets, prices"),
        ("middleware/routing.py", "chain: record, errors, admission, routing, walls"),
        ("handlers/native/messages.py", "upstream"),
        ("<string>", "the rest of Python and its libraries"),
    ],
)
def test_each_module_belongs_to_a_layer(module: str, layer: str) -> None:
    assert profiler.layer_of(module) == layer


_MAIN, _WRITER = "thread (7): MainThread", "thread (8): writer"


def test_a_threads_cpu_time_is_divided_by_its_samples_and_recursion_counts_once() -> None:
    profile = profiler.aggregate(
        [
            f"{_MAIN};run (main.py:9);walk (gateway/sse.py:5);walk (gateway/sse.py:7) 3",
            f"{_MAIN};run (main.py:9);post (aiohttp/client.py:1) 1",
        ],
        {7: ThreadTime(ran=2.0, queued=0.0)},
        wall=2.0,
    )
    assert profile.seconds == 2.0
    assert profile.modules == {"gateway/sse.py": 1.5, "aiohttp": 0.5}
    assert profile.functions == {"walk (gateway/sse.py)": 1.5, "post (aiohttp/client.py)": 0.5}
    assert profile.inclusive["run (main.py)"] == 2.0
    assert profile.inclusive["walk (gateway/sse.py)"] == 1.5


@pytest.mark.parametrize("time", [ThreadTime(ran=0.2, queued=0.0), ThreadTime(ran=0.1, queued=0.1)])
def test_the_place_where_a_thread_sleeps_counts_only_for_what_it_did_there(time: ThreadTime) -> None:
    stacks = [f"{_WRITER};take (store.py:3) 90", f"{_WRITER};commit (store.py:9) 10"]
    profile = profiler.aggregate(stacks, {8: time}, wall=1.0)
    # It was awake for 0.2 of the time, so 80 of 100 samples were sleep; 10 and 10 remain.
    half = time.ran / 2
    assert profile.functions == pytest.approx({"take (store.py)": half, "commit (store.py)": half})


def test_a_thread_that_used_no_time_has_no_share() -> None:
    profile = profiler.aggregate(
        [f"{_MAIN};run (main.py:9) 5", f"{_WRITER};take (store.py:3) 5"], {7: ThreadTime(1.0, 0.0)}, 1.0
    )
    assert profile.threads == {_MAIN: 1.0}


def test_seconds_become_microseconds_a_request() -> None:
    stacks = [f"{_MAIN};walk (gateway/sse.py:5) 3", f"{_MAIN};post (aiohttp/client.py:1) 1"]
    table = profiler.table(profiler.aggregate(stacks, {7: ThreadTime(4.0, 0.0)}, wall=4.0), cpu_us=200.0)
    assert "   150.0  gateway/sse.py\n    50.0  aiohttp" in table
