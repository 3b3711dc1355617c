"""A scripted load: all that the dashboards show happens at least once."""

import asyncio
import itertools
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.support.client import Client

MODEL = "claude-sonnet-5-5"
OTHER_MODEL = "claude-opus-5"
LONG = "The quick brown fox jumps over the lazy dog. " * 200
AT_A_TIME = 8
BATCH_SECONDS = 20.0

KEYS: dict[str, dict[str, Any]] = {
    "kitchen": {"budget": {"usd_per_day": 50, "usd_per_month": 500}},
    "study": {"budget": {"usd_per_month": 900}},
    "hurried": {"limits": {"requests_per_minute": 1}},
    "poor": {"budget": {"usd_per_day": 0.000001}},
    "queued": {"limits": {"concurrency": 1}},
}


@dataclass
class Load:
    """The keys by name, and where to send to."""

    admin: Client
    keys: dict[str, str]

    @classmethod
    def prepare(cls, admin: Client) -> "Load":
        """Make the keys."""
        made = {}
        for name, options in KEYS.items():
            scopes = ["messages", "batches", "models"]
            answer = admin.call("POST", "/api/v1/keys", {"name": name, "scopes": scopes, **options})
            assert answer.status == 201, answer.body
            made[name] = answer.json()["data"]["key"]
        return cls(admin, made)

    def calls(self, count: int) -> None:
        """So many calls of all kinds, several at a time."""
        asyncio.run(self._calls(count))

    async def _calls(self, count: int) -> None:
        kinds = itertools.islice(itertools.cycle(_MIXED), count)
        async with aiohttp.ClientSession(self.admin.url) as session:

            async def send() -> None:
                for name, path, body, status in kinds:
                    headers = {"x-api-key": self.keys[name]}
                    async with session.post(path, json=body, headers=headers) as answer:
                        await answer.read()
                        assert answer.status == status, (body, await answer.text())

            await asyncio.gather(*(send() for _ in range(AT_A_TIME)))

    def incidents(self) -> None:
        """What should not happen, and does."""
        hurried, poor = (
            Client(self.admin.url, self.keys["hurried"]),
            Client(self.admin.url, self.keys["poor"]),
        )
        wrong = Client(self.admin.url, "sk-gw-wrong")
        for client in (hurried, hurried, poor, poor, wrong):
            client.call("POST", "/v1/messages", _message())
        self.admin.call("POST", "/v1/messages", _message(messages="no list"))
        self.admin.call("GET", "/v1/novelties")
        self.admin.call("POST", "/api/v1/messages/create", _message(model="sandbox-flaky"))
        for model in ("401", "429-no-retry-after", "529-mid-stream", "slow-stream-10ms"):
            self.admin.call("POST", "/v1/messages", _message(model=f"sandbox-{model}", stream=True))
        with self.admin.open(
            "POST", "/v1/messages", _message(model="sandbox-slow-stream-1000ms", stream=True)
        ) as cut:
            cut.until(b"message_start")
        asyncio.run(self._at_once("queued", 3))

    async def _at_once(self, name: str, count: int) -> None:
        headers = {"x-api-key": self.keys[name]}
        async with aiohttp.ClientSession(self.admin.url, headers=headers) as session:

            async def send() -> None:
                async with session.post("/v1/messages", json=_message(model="sandbox-slow-100ms")) as answer:
                    await answer.read()

            await asyncio.gather(*(send() for _ in range(count)))

    def batch(self) -> None:
        """A batch from its creation to its results, which books it."""
        client = Client(self.admin.url, self.keys["study"])
        requests = [{"custom_id": f"r{number}", "params": _message()} for number in range(3)]
        made = client.call("POST", "/v1/messages/batches", {"requests": requests})
        assert made.status == 200, made.body
        path = f"/v1/messages/batches/{made.json()['id']}"
        deadline = time.monotonic() + BATCH_SECONDS
        while client.call("GET", path).json()["processing_status"] != "ended":
            assert time.monotonic() < deadline, "the batch does not end"
            time.sleep(0.1)
        assert client.call("GET", f"{path}/results").status == 200


def _message(**changes: Any) -> dict[str, Any]:
    question = {"role": "user", "content": "Hello, Claude!"}
    return {"model": MODEL, "max_tokens": 64, "messages": [question]} | changes


def _cached() -> dict[str, Any]:
    block = {"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}
    hour = {"type": "text", "text": LONG + "And on.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    return _message(system=[hour, block])


_MIXED: list[tuple[str, str, dict[str, Any], int]] = [
    ("kitchen", "/v1/messages", _message(), 200),
    ("kitchen", "/v1/messages", _message(stream=True), 200),
    ("study", "/api/v1/messages/create", _message(model=OTHER_MODEL), 200),
    ("study", "/api/v1/messages/stream", _message(model=OTHER_MODEL), 200),
    ("kitchen", "/v1/messages", _cached(), 200),
    ("study", "/v1/messages", _message(model=OTHER_MODEL, max_tokens=3), 200),
    ("kitchen", "/v1/messages/count_tokens", {"model": MODEL, "messages": _message()["messages"]}, 200),
    ("kitchen", "/api/v1/messages/create", _message(temperature=0.5), 200),
    ("kitchen", "/v1/messages", _message(model="sandbox-529"), 529),
    ("study", "/v1/messages", _message(model="sandbox-500"), 500),
]
