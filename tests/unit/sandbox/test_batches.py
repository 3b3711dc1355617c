"""Batches: their life from creation to deletion."""

import asyncio
import time
from typing import Any

import anthropic
import pytest
from anthropic.types.messages import MessageBatch

from sandbox import Settings, serve

PARAMS: Any = {
    "model": "claude-sonnet-5-5",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "Hi"}],
}


def one(custom_id: str, **change: Any) -> Any:
    return {"custom_id": custom_id, "params": {**PARAMS, **change}}


def ended(client: anthropic.Anthropic, batch: MessageBatch) -> MessageBatch:
    deadline = time.monotonic() + 30
    while batch.processing_status != "ended" and time.monotonic() < deadline:
        time.sleep(0.05)
        batch = client.messages.batches.retrieve(batch.id)
    return batch


def test_whole_life(client: anthropic.Anthropic, base_url: str) -> None:
    batch = client.messages.batches.create(
        requests=[
            one("good"),
            one("bad", max_tokens=-1),
            one("late", model="sandbox-expired"),
            one("busy", model="sandbox-529"),
        ]
    )
    assert batch.processing_status == "in_progress"
    assert (batch.request_counts.processing, batch.results_url, batch.ended_at) == (4, None, None)
    batch = ended(client, batch)
    assert batch.results_url == f"{base_url}/v1/messages/batches/{batch.id}/results"
    counts = batch.request_counts
    assert (counts.succeeded, counts.errored, counts.expired, counts.processing) == (1, 2, 1, 0)
    results = {line.custom_id: line.result for line in client.messages.batches.results(batch.id)}
    assert results["good"].type == "succeeded"
    assert results["good"].message.usage.service_tier == "batch"
    assert results["bad"].type == "errored"
    assert results["bad"].error.error.type == "invalid_request_error"
    assert results["busy"].type == "errored"
    assert results["busy"].error.error.type == "overloaded_error"
    assert results["late"].type == "expired"
    assert client.messages.batches.delete(batch.id).type == "message_batch_deleted"
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve(batch.id)


def test_running_batch_has_no_results_and_stays(client: anthropic.Anthropic) -> None:
    batch = client.messages.batches.create(requests=[one("a", model="sandbox-slow-60000ms")])
    results = f"/v1/messages/batches/{batch.id}/results"
    with pytest.raises(anthropic.NotFoundError, match="no available results"):
        client.get(results, cast_to=object)
    with pytest.raises(anthropic.BadRequestError, match="still processing"):
        client.messages.batches.delete(batch.id)
    canceling = client.messages.batches.cancel(batch.id)
    assert canceling.processing_status == "canceling"
    assert canceling.cancel_initiated_at is not None
    batch = ended(client, canceling)
    assert batch.request_counts.canceled == 1
    assert [line.result.type for line in client.messages.batches.results(batch.id)] == ["canceled"]
    with pytest.raises(anthropic.BadRequestError, match="already ended"):
        client.messages.batches.cancel(batch.id)


def test_list_newest_first_over_pages(client: anthropic.Anthropic) -> None:
    made = [client.messages.batches.create(requests=[one("a")]).id for _ in range(5)]
    listed = [batch.id for batch in client.messages.batches.list(limit=2)]
    assert listed[:5] == made[::-1]
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([], "at least 1 item"),
        ("x", "valid list"),
        ([{"custom_id": "a"}], "requests.0.params: Field required"),
        ([{"params": {}}], "requests.0.custom_id: Field required"),
        ([{"custom_id": "a b", "params": {}}], "should match pattern"),
        ([{"custom_id": "a", "params": {}}, {"custom_id": "a", "params": {}}], "duplicate"),
        ([7], "valid dictionary"),
    ],
)
def test_refused(client: anthropic.Anthropic, requests: Any, message: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match=message):
        client.post("/v1/messages/batches", body={"requests": requests}, cast_to=object)


async def test_oldest_ended_batch_makes_room() -> None:
    async with (
        serve(settings=Settings(batch_seconds=0, stored_batches=2)) as url,
        anthropic.AsyncAnthropic(base_url=url, api_key="any", max_retries=0) as client,
    ):
        made = []
        for _ in range(3):
            made.append((await client.messages.batches.create(requests=[one("a")])).id)
            await asyncio.sleep(0.05)
        assert [batch.id async for batch in client.messages.batches.list()] == made[:0:-1]
