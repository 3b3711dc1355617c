"""From py-spy's stacks to a table."""

import pytest

from bench import profiler
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


def test_self_time_is_the_last_frames_and_recursion_counts_once() -> None:
    profile = profiler.aggregate(
        [
            "MainThread;run (main.py:9);walk (gateway/sse.py:5);walk (gateway/sse.py:7) 3",
            "MainThread;run (main.py:9);post (aiohttp/client.py:1) 1",
            "idle 7",
            "MainThread;_worker (concurrent/futures/thread.py:81) 9",
            "wait (threading.py:320) 9",
        ]
    )
    assert profile.samples == 4
    assert profile.modules == {"gateway/sse.py": 3, "aiohttp": 1}
    assert profile.functions == {"walk (gateway/sse.py)": 3, "post (aiohttp/client.py)": 1}
    assert profile.inclusive == {
        "run (main.py)": 4,
        "walk (gateway/sse.py)": 3,
        "post (aiohttp/client.py)": 1,
    }


def test_shares_become_microseconds_a_request() -> None:
    profile = profiler.aggregate(["walk (gateway/sse.py:5) 3", "post (aiohttp/client.py:1) 1"])
    assert profiler.table(profile, cpu_us=200.0).splitlines()[1].split() == [
        "150.0",
        "75.0%",
        "gateway/sse.py",
    ]
