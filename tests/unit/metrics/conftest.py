"""Fixtures of the metrics' tests: what lives as long as a gateway, and calls that are over."""

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.call import Call
from gateway.keys import ADMIN_ID, ADMIN_NAME, Key
from gateway.ledger import Entry
from gateway.pool import Answer
from gateway.services import Services
from gateway.settings import Settings
from gateway.upstream import WholeAnswer
from gateway.usage import Sampling, Usage

MODEL = "claude-sonnet-5"

LIMITS = [
    (b"anthropic-ratelimit-requests-limit", b"4000"),
    (b"anthropic-ratelimit-requests-remaining", b"3999"),
    (b"anthropic-ratelimit-requests-reset", b"2026-11-22T12:00:00Z"),
    (b"anthropic-ratelimit-input-tokens-limit", b"2000000"),
    (b"anthropic-ratelimit-input-tokens-remaining", b"1000000"),
    (b"anthropic-ratelimit-input-tokens-reset", b"2026-11-22T12:00:30Z"),
]


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    settings = Settings(upstream="sandbox", data_dir=tmp_path, config_dir=tmp_path, default_usd_per_day="5")  # type: ignore[arg-type]
    made = Services(settings, "http://127.0.0.1:9")
    yield made
    await made.ledger.close()
    await made.store.close()


MakeCall = Callable[..., Call]


@pytest.fixture
def over(services: Services) -> MakeCall:
    """Makes calls that are over, each as if it had taken 200 ms, of which upstream took 150."""

    def make(
        operation: str = "messages_create",
        *,
        key: Key | None = None,
        model: str = MODEL,
        usage: Usage | None = None,
        cost: int = 1000,
        **fields: Any,
    ) -> Call:
        scope = {
            "type": "http",
            "method": "POST",
            "raw_path": b"/v1/messages",
            "query_string": b"",
            "headers": [],
            "scheme": "http",
        }
        call = Call(services, scope, None)  # type: ignore[arg-type]
        call.operation = services.catalog[operation]
        call.key = key or Key(ADMIN_ID, ADMIN_NAME, frozenset())
        call.status, call.model, call.payload = 200, model, {}
        call.started = time.perf_counter() - 0.2
        call.asked_at, call.answered_at, call.ended_at = (call.started + at for at in (0.01, 0.11, 0.16))
        call.first_byte, call.upstream_status = 0.12, 200
        call.answer = answer(200, LIMITS)
        if call.operation.metered:
            today = services.ledger.tally()
            call.entry = Entry(1, call.key, model, today.day, today._priced_on, 10, 10, 0, 0)
            call.usage = usage or Usage(model, (Sampling(model, 10, 20, 30, 40, 50),))
            call.cost_nanodollars = cost
        for name, value in fields.items():
            setattr(call, name, value)
        return call

    return make


def answer(status: int, headers: list[tuple[bytes, bytes]]) -> Answer:
    return WholeAnswer(status, headers, b"")
