"""The official SDK, with only its base URL and key changed, does all that it does, synchronous or not."""

import asyncio
import inspect
import io
import time
import zipfile
from collections.abc import AsyncIterator, Callable
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import AsyncAnthropic, beta_async_tool, beta_tool
from pydantic import BaseModel

from tests.support.gateway import Gateway

MODEL = "claude-opus-5"
HELLO: list[Any] = [{"role": "user", "content": "Hello there"}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "Get the weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
MANIFEST = b"---\nname: greet\ndescription: Greets.\n---\nSay hello.\n"


class Sdk:
    """One of the two clients, called the same way: `await sdk(client.messages.create, …)`.

    The synchronous one runs in a thread.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        self.synchronous = isinstance(client, anthropic.Anthropic)

    async def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.synchronous:
            return await asyncio.to_thread(function, *args, **kwargs)
        result = function(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    async def all(self, function: Callable[..., Any], **kwargs: Any) -> list[Any]:
        """All items of all pages."""
        if self.synchronous:
            return await asyncio.to_thread(lambda: list(function(**kwargs)))
        return [item async for item in function(**kwargs)]

    async def streamed(self, **kwargs: Any) -> tuple[list[Any], Any]:
        """The events and the final message of the stream helper."""

        def read() -> tuple[list[Any], Any]:
            with self.client.messages.stream(**kwargs) as stream:
                return list(stream), stream.get_final_message()

        if self.synchronous:
            return await asyncio.to_thread(read)
        async with self.client.messages.stream(**kwargs) as stream:
            return [event async for event in stream], await stream.get_final_message()


@pytest.fixture(params=["sync", "async", "bearer"])
async def sdk(request: pytest.FixtureRequest, sandboxed: Gateway) -> AsyncIterator[Sdk]:
    if request.param == "sync":
        with anthropic.Anthropic(base_url=sandboxed.url, api_key=sandboxed.key) as client:
            yield Sdk(client)
        return
    key = {"auth_token" if request.param == "bearer" else "api_key": sandboxed.key}
    async with AsyncAnthropic(base_url=sandboxed.url, **key) as asynchronous:  # type: ignore[arg-type]
        yield Sdk(asynchronous)


async def test_create(sdk: Sdk) -> None:
    message = await sdk(sdk.client.messages.create, model=MODEL, max_tokens=64, messages=HELLO)

    assert message.content[0].text
    assert message.stop_reason == "end_turn"
    assert message._request_id.startswith("req_")


async def test_create_as_stream(sdk: Sdk) -> None:
    stream = await sdk(sdk.client.messages.create, model=MODEL, max_tokens=64, messages=HELLO, stream=True)

    events = [event async for event in stream] if not sdk.synchronous else await sdk(list, stream)

    assert events[0].type == "message_start"
    assert events[-1].type == "message_stop"


async def test_stream_helper(sdk: Sdk) -> None:
    events, message = await sdk.streamed(model=MODEL, max_tokens=64, messages=HELLO)

    text = "".join(event.text for event in events if event.type == "text")
    assert text == message.content[0].text != ""
    assert message.usage.output_tokens > 0


async def test_raw_and_streaming_responses(sdk: Sdk) -> None:
    raw = await sdk(sdk.client.messages.with_raw_response.create, model=MODEL, max_tokens=64, messages=HELLO)

    assert raw.headers["request-id"].startswith("req_")
    assert raw.headers["anthropic-ratelimit-requests-remaining"]
    assert (await sdk(raw.parse)).content[0].text


class Weather(BaseModel):
    city: str
    degrees: int


async def test_parse(sdk: Sdk) -> None:
    message = await sdk(
        sdk.client.messages.parse, model=MODEL, max_tokens=200, messages=HELLO, output_format=Weather
    )

    assert isinstance(message.parsed_output, Weather)


async def test_tool_loop_by_hand(sdk: Sdk) -> None:
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
    request: Any = {"model": MODEL, "max_tokens": 99, "messages": messages, "tools": [WEATHER]}
    first = await sdk(sdk.client.messages.create, **request)
    assert first.stop_reason == "tool_use"
    call = next(block for block in first.content if block.type == "tool_use")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]

    second = await sdk(sdk.client.messages.create, **request)

    assert second.stop_reason == "end_turn"
    assert "sunny" in second.content[0].text


async def test_tool_runner(sdk: Sdk) -> None:
    asked = []

    def weather(city: str) -> str:
        """Get the weather.

        Args:
            city: where
        """
        asked.append(city)
        return "sunny"

    async def weather_later(city: str) -> str:
        """Get the weather.

        Args:
            city: where
        """
        return weather(city)

    tool = (
        beta_tool(weather, name="weather")
        if sdk.synchronous
        else beta_async_tool(weather_later, name="weather")
    )
    question = [{"role": "user", "content": "What is the weather in Paris?"}]

    runner = sdk.client.beta.messages.tool_runner(model=MODEL, max_tokens=99, messages=question, tools=[tool])
    last = await sdk(runner.until_done)

    assert len(asked) == 1
    assert "sunny" in last.content[0].text


async def test_count_tokens(sdk: Sdk) -> None:
    counted = await sdk(sdk.client.messages.count_tokens, model=MODEL, messages=HELLO)
    message = await sdk(sdk.client.messages.create, model=MODEL, max_tokens=5, messages=HELLO)

    assert counted.input_tokens == message.usage.input_tokens


async def test_models_over_all_pages(sdk: Sdk) -> None:
    every = [model.id for model in await sdk.all(sdk.client.models.list, limit=1000)]

    assert [model.id for model in await sdk.all(sdk.client.models.list, limit=2)] == every
    assert len(set(every)) == len(every) > 4
    assert (await sdk(sdk.client.models.retrieve, every[0])).id == every[0]


async def test_batch_from_creation_to_results(sdk: Sdk, sandboxed: Gateway) -> None:
    batches = sdk.client.messages.batches
    requests = [
        {"custom_id": f"r{number}", "params": {"model": MODEL, "max_tokens": 9, "messages": HELLO}}
        for number in range(3)
    ]
    batch = await sdk(batches.create, requests=requests)
    deadline = time.monotonic() + 30
    while batch.processing_status != "ended":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
        batch = await sdk(batches.retrieve, batch.id)
    assert batch.results_url.startswith(sandboxed.url)

    results = await sdk(batches.results, batch.id)
    entries = await sdk(list, results) if sdk.synchronous else [entry async for entry in results]

    assert {entry.custom_id for entry in entries} == {"r0", "r1", "r2"}
    assert {entry.result.type for entry in entries} == {"succeeded"}
    assert batch.id in [found.id for found in await sdk.all(batches.list, limit=1)]
    assert (await sdk(batches.delete, batch.id)).id == batch.id


async def test_cancel_a_batch(sdk: Sdk) -> None:
    params = {"model": MODEL, "max_tokens": 9, "messages": HELLO}
    batch = await sdk(sdk.client.messages.batches.create, requests=[{"custom_id": "a", "params": params}])

    canceled = await sdk(sdk.client.messages.batches.cancel, batch.id)

    assert canceled.processing_status in ("canceling", "ended")


async def test_file_from_upload_to_deletion(sdk: Sdk) -> None:
    files = sdk.client.files
    uploaded = await sdk(files.upload, file=("notes.txt", b"The grass is green.", "text/plain"))
    document = {"type": "document", "source": {"type": "file", "file_id": uploaded.id}}
    question = {"role": "user", "content": [document, {"type": "text", "text": "What colour?"}]}

    message = await sdk(sdk.client.messages.create, model=MODEL, max_tokens=99, messages=[question])
    assert message.content
    assert (await sdk(files.retrieve_metadata, uploaded.id)).filename == "notes.txt"
    assert uploaded.id in [file.id for file in await sdk.all(files.list, limit=1)]
    download = await sdk(files.download, uploaded.id)
    assert await sdk(download.read) == b"The grass is green."
    assert (await sdk(files.delete, uploaded.id)).id == uploaded.id
    with pytest.raises(anthropic.NotFoundError):
        await sdk(files.retrieve_metadata, uploaded.id)


async def test_skill_and_its_versions(sdk: Sdk) -> None:
    skills = sdk.client.skills
    skill = await sdk(skills.create, display_name="Greet", files=[("greet/SKILL.md", MANIFEST)])
    second = await sdk(skills.versions.create, skill.id, files=[("greet/SKILL.md", MANIFEST + b"Twice.\n")])

    assert skill.id in [found.id for found in await sdk.all(skills.list, limit=2)]
    versions = [found.id for found in await sdk.all(skills.versions.list, skill_id=skill.id, limit=1)]
    assert second.id in versions
    assert len(versions) == 2
    archive = await sdk(sdk.client.beta.skills.versions.download, second.id, skill_id=skill.id)
    with zipfile.ZipFile(io.BytesIO(await sdk(archive.read))) as unpacked:
        assert any(unpacked.read(name).endswith(b"Twice.\n") for name in unpacked.namelist())
    await sdk(skills.versions.delete, second.id, skill_id=skill.id)
    assert len(await sdk.all(skills.versions.list, skill_id=skill.id)) == 1
    assert (await sdk(skills.delete, skill.id)).id == skill.id


ERRORS: list[tuple[str, type[anthropic.APIStatusError], str]] = [
    ("sandbox-400", anthropic.BadRequestError, "invalid_request_error"),
    ("sandbox-403", anthropic.PermissionDeniedError, "permission_error"),
    ("sandbox-404", anthropic.NotFoundError, "not_found_error"),
    ("sandbox-429", anthropic.RateLimitError, "rate_limit_error"),
    ("sandbox-500", anthropic.InternalServerError, "api_error"),
    ("sandbox-529", anthropic.APIStatusError, "overloaded_error"),
    ("sandbox-529-first-event", anthropic.APIStatusError, "overloaded_error"),
]


@pytest.mark.parametrize(("model", "kind", "name"), ERRORS)
async def test_typed_errors(sandboxed: Gateway, model: str, kind: type[Exception], name: str) -> None:
    async with AsyncAnthropic(base_url=sandboxed.url, api_key=sandboxed.key, max_retries=0) as client:
        with pytest.raises(kind) as raised:
            await client.messages.create(
                model=model, max_tokens=9, messages=HELLO, stream=model.endswith("event")
            )

    assert raised.value.body["error"]["type"] == name  # type: ignore[attr-defined]


async def test_wrong_key(sandboxed: Gateway) -> None:
    async with AsyncAnthropic(base_url=sandboxed.url, api_key="sk-gw-wrong", max_retries=0) as client:
        with pytest.raises(anthropic.AuthenticationError):
            await client.models.list()


async def test_retries_of_the_sdk_itself(sandboxed: Gateway) -> None:
    """The gateway leaves native retries to the caller: every second call of `flaky` succeeds."""
    async with AsyncAnthropic(base_url=sandboxed.url, api_key=sandboxed.key, max_retries=1) as client:
        response = await client.messages.with_raw_response.create(
            model="sandbox-flaky", max_tokens=9, messages=HELLO
        )

    assert response.retries_taken == 1


async def test_error_in_mid_stream(sandboxed: Gateway) -> None:
    async with AsyncAnthropic(base_url=sandboxed.url, api_key=sandboxed.key) as client:
        with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
            async with client.messages.stream(
                model="sandbox-529-mid-stream", max_tokens=99, messages=HELLO
            ) as stream:
                await stream.until_done()


async def test_unknown_paths_of_a_newer_sdk(sandboxed: Gateway) -> None:
    async with AsyncAnthropic(base_url=sandboxed.url, api_key=sandboxed.key) as client:
        with pytest.raises(anthropic.NotFoundError):
            await client.get("/v1/novelties", cast_to=httpx2.Response)
