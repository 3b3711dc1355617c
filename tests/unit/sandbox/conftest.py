"""One sandbox on a real socket for all of its tests, and the official SDK's clients to talk to it."""

from collections.abc import AsyncIterator, Iterator

import anthropic
import httpx2
import pytest
import pytest_asyncio

from sandbox import Settings, serve_in_thread

BATCH_SECONDS = 0.2


@pytest.fixture(scope="session")
def base_url() -> Iterator[str]:
    settings = Settings(
        slow_seconds=0.2,
        silence_seconds=0.3,
        pace_seconds=0.01,
        batch_seconds=BATCH_SECONDS,
        recorded_requests=50,
    )
    with serve_in_thread(settings=settings) as url:
        yield url


@pytest.fixture(scope="session")
def client(base_url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=base_url, api_key="any", max_retries=0) as client:
        yield client


@pytest_asyncio.fixture(scope="session")
async def async_client(base_url: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=base_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def http(base_url: str) -> Iterator[httpx2.Client]:
    """Plain HTTP with the headers that every call needs; for what the SDK would not send."""
    headers = {"x-api-key": "any", "anthropic-version": "2023-06-01"}
    with httpx2.Client(base_url=base_url, headers=headers) as client:
        yield client
