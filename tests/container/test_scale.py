"""The profile `scale`: what callers, ledger and upstream see when one of two replicas is killed at work."""

import asyncio
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from tests.container import compose
from tests.container.compose import Project, call
from tests.container.upstream import OUTPUT_TOKENS
from tests.servers import free_port

pytestmark = pytest.mark.container

CALLS = int(os.environ.get("SCALE_CALLS") or 10_000)
AT_A_TIME = 16
NOTICED = 1.0
"""Seconds in which the proxy sees that the connections are dead which it keeps to a killed replica."""
REPLICAS = ("replica-1", "replica-2")
UPSTREAM = Path(__file__).with_name("upstream.py")
ASKED = "from urllib.request import urlopen as get; print(get('http://127.0.0.1:9000').read().decode())"
CHANGES = f"""
services:
  upstream:
    image: ${{GATEWAY_IMAGE:-anthropic-gateway:1.0.0}}
    command: [python, /upstream.py, "9000"]
    volumes: ["{UPSTREAM}:/upstream.py:ro"]
    networks: [backend]
    healthcheck: {{test: [CMD, python, -c, "{ASKED}"]}}
"""


@dataclass
class Calls:
    """What became of the calls: when each began and ended, by its number."""

    answered: dict[int, tuple[float, float]] = field(default_factory=dict)
    lost: dict[int, tuple[float, float]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def scaled(image: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, str]]:
    """Two replicas behind the proxy, and where the proxy listens. At the end no log holds a traceback."""
    images = {f"{name.upper()}_IMAGE": compose.stand_in(name) for name in ("nginx", "postgres", "redis")}
    address = f"127.0.0.1:{free_port()}"
    variables = {
        "SCALE_PORT": address,
        "POSTGRES_PASSWORD": "letters4and9digits",
        "ANTHROPIC_API_KEY": "sk-ant-never-sent-anywhere",
        "ANTHROPIC_BASE_URL": "http://upstream:9000",
        **images,
    }
    folder = tmp_path_factory.mktemp("scale")
    with compose.project(folder, "scale", changes=CHANGES, **variables) as project:
        project.up("upstream", "proxy")
        yield project, f"http://{address}"
        for replica in REPLICAS:
            assert "Traceback" not in project.logs(replica)


async def send(url: str, key: str, calls: Calls, numbers: Iterator[int]) -> None:
    """Make one call after another until there are no more numbers, and repeat none."""
    async with aiohttp.ClientSession(headers={"x-api-key": key}) as session:
        for number in numbers:
            question = {"role": "user", "content": f"call {number}"}
            body = {"model": "claude-sonnet-5-5", "max_tokens": 9, "messages": [question]}
            began = time.monotonic()
            try:
                async with session.post(f"{url}/v1/messages", json=body) as answer:
                    whole = answer.status == 200 and (await answer.json())["stop_reason"] == "end_turn"
            except aiohttp.ClientError:
                whole = False
            (calls.answered if whole else calls.lost)[number] = (began, time.monotonic())


async def test_a_killed_replica_loses_only_what_it_had_in_hand(scaled: tuple[Project, str]) -> None:
    project, url = scaled
    key = project.admin_key("replica-1")
    assert key == project.admin_key("replica-2")
    calls, numbers = Calls(), iter(range(CALLS))
    senders = [asyncio.create_task(send(url, key, calls, numbers)) for _ in range(AT_A_TIME)]
    while len(calls.answered) < CALLS // 3:
        assert not all(sender.done() for sender in senders), calls.lost
        await asyncio.sleep(0.02)

    killing = time.monotonic()
    await asyncio.to_thread(project.kill, "replica-1")
    killed = time.monotonic()
    await asyncio.gather(*senders)
    await asyncio.to_thread(compose.until, lambda: project.health("replica-1") == "healthy", 60)

    assert len(calls.answered) + len(calls.lost) == CALLS
    assert len(calls.lost) <= AT_A_TIME
    for began, ended in calls.lost.values():
        assert began <= killed + NOTICED, "a call was lost that had not begun when the replica was killed"
        assert ended >= killing
    since_its_return = project.logs("replica-1").rpartition('"Gateway starts"')[2]
    assert '"messages_create"' in since_its_return, "the proxy did not take the replica back"
    _compare_the_books(project, url, key, calls)


def _compare_the_books(project: Project, url: str, key: str, calls: Calls) -> None:
    """Each call was asked upstream at most once, and each that was asked has its row in the ledger."""
    asked = json.loads(project.python(ASKED, "upstream"))
    assert set(asked.values()) == {1}, "a call was made twice"
    assert {f"call {number}" for number in calls.answered} <= asked.keys()

    status, usage = call("GET", f"{url}/api/v1/usage", key)
    assert status == 200
    total = usage["data"]["total"]
    assert len(asked) <= total["requests"] <= CALLS
    # A call may have been answered and not yet settled when its replica was killed.
    assert len(calls.answered) - AT_A_TIME <= total["output_tokens"] / OUTPUT_TOKENS <= len(asked)
    if not calls.lost:
        assert total["requests"] == CALLS
