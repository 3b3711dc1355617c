"""Messages: what an answer holds, by the official SDK."""

import json
from typing import Any

import anthropic
import httpx2
import pydantic
import pytest

MODEL = "claude-sonnet-5-5"
WEATHER: Any = {
    "name": "get_weather",
    "description": "Get weather information",
    "input_schema": {
        "type": "object",
        "properties": {"location": {"type": "string"}},
        "required": ["location"],
    },
}


def ask(client: anthropic.Anthropic, text: str, **more: Any) -> Any:
    arguments = {"model": MODEL, "max_tokens": 1024, "messages": [{"role": "user", "content": text}], **more}
    return client.messages.create(**arguments)


def test_same_request_same_answer(client: anthropic.Anthropic) -> None:
    first, second = ask(client, "Hello, Claude!"), ask(client, "Hello, Claude!")
    assert "Hello, Claude!" in first.content[0].text
    assert first.content == second.content
    assert first.usage == second.usage
    assert first.id != second.id
    assert first.stop_reason == "end_turn"


def test_stream_adds_up_to_the_message(client: anthropic.Anthropic) -> None:
    thinking: Any = {"type": "adaptive"}
    whole = ask(client, "Grüße, 世界 🌍", thinking=thinking)
    with client.messages.stream(
        model=MODEL,
        max_tokens=1024,
        thinking=thinking,
        messages=[{"role": "user", "content": "Grüße, 世界 🌍"}],
    ) as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_message()
    assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in whole.content]
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert streamed.stop_reason == whole.stop_reason
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"


def test_raw_stream_has_a_ping_and_event_lines(http: httpx2.Client) -> None:
    body = {"model": MODEL, "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    answer = http.post("/v1/messages", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [block.split("\n") for block in answer.text.strip().split("\n\n")]
    names = [lines[0].removeprefix("event: ") for lines in events]
    assert names == [json.loads(lines[1].removeprefix("data: "))["type"] for lines in events]
    assert "ping" in names


async def test_async_client(async_client: anthropic.AsyncAnthropic) -> None:
    async with async_client.messages.stream(
        model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "Hello"}]
    ) as stream:
        text = "".join([piece async for piece in stream.text_stream])
    assert "Hello" in text


def test_tool_loop(client: anthropic.Anthropic) -> None:
    messages: list[Any] = [{"role": "user", "content": "What's the weather?"}]
    first = ask(client, "", messages=messages, tools=[WEATHER])
    assert first.stop_reason == "tool_use"
    call = first.content[-1]
    assert call.name == "get_weather"
    assert list(call.input) == ["location"]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "22 degrees"}
    messages += [first.to_param(), {"role": "user", "content": [result]}]
    second = ask(client, "", messages=messages, tools=[WEATHER])
    assert second.stop_reason == "end_turn"
    assert "22 degrees" in second.content[0].text


def test_tool_use_streams_its_input(client: anthropic.Anthropic) -> None:
    with client.messages.stream(
        model=MODEL,
        max_tokens=1024,
        tools=[WEATHER],
        tool_choice={"type": "any"},
        messages=[{"role": "user", "content": "Hello"}],
    ) as stream:
        message = stream.get_final_message()
    (call,) = message.content
    assert call.type == "tool_use"
    assert list(call.input) == ["location"]


@pytest.mark.parametrize(
    ("choice", "calls"),
    [({"type": "auto"}, False), ({"type": "none"}, False), ({"type": "any"}, True)],
)
def test_tool_choice(client: anthropic.Anthropic, choice: dict[str, str], calls: bool) -> None:
    answer = ask(client, "Hello", tools=[WEATHER], tool_choice=choice)
    assert (answer.stop_reason == "tool_use") is calls


def test_tool_choice_names_a_tool(client: anthropic.Anthropic) -> None:
    other = {**WEATHER, "name": "other"}
    choice = {"type": "tool", "name": "other"}
    answer = ask(client, "What's the weather?", tools=[WEATHER, other], tool_choice=choice)
    assert answer.content[0].name == "other"


def test_beta_tool_runner(client: anthropic.Anthropic) -> None:
    asked: list[str] = []

    @anthropic.beta_tool
    def get_weather(location: str) -> str:
        """Get the weather.

        Args:
            location: a city.
        """
        asked.append(location)
        return "sunny"

    runner = client.beta.messages.tool_runner(
        model=MODEL,
        max_tokens=1024,
        tools=[get_weather],
        messages=[{"role": "user", "content": "What's the weather?"}],
    )
    final = runner.until_done()
    assert len(asked) == 1
    assert final.content[0].type == "text"
    assert "sunny" in final.content[0].text


class Answer(pydantic.BaseModel):
    verdict: str
    score: int
    tags: list[str]


def test_structured_output(client: anthropic.Anthropic) -> None:
    parsed = client.messages.parse(
        model=MODEL, max_tokens=1024, messages=[{"role": "user", "content": "Judge"}], output_format=Answer
    )
    assert isinstance(parsed.parsed_output, Answer)


def test_thinking_is_signed_and_checked_on_return(client: anthropic.Anthropic) -> None:
    first = ask(client, "Think", thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=4096)
    block = first.content[0]
    assert block.type == "thinking"
    assert first.usage.output_tokens_details.thinking_tokens > 0
    turns = [
        {"role": "user", "content": "Think"},
        first.to_param(),
        {"role": "user", "content": "Go on"},
    ]
    assert ask(client, "", messages=turns).stop_reason == "end_turn"
    forged = {**block.to_dict(), "thinking": "something else"}
    turns[1] = {"role": "assistant", "content": [forged, first.content[1].to_dict()]}
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature`"):
        ask(client, "", messages=turns)


def test_max_tokens_cuts_the_text(client: anthropic.Anthropic) -> None:
    answer = ask(client, "Write 500 words", max_tokens=10)
    assert answer.stop_reason == "max_tokens"
    assert answer.usage.output_tokens == 10
    assert len(answer.content[0].text) == 40


def test_words_on_demand(client: anthropic.Anthropic) -> None:
    assert len(ask(client, "Write 300 words", max_tokens=8000).content[0].text.split()) == 300


def test_stop_sequence(client: anthropic.Anthropic) -> None:
    answer = ask(client, "one two three", stop_sequences=["three", "two"])
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "two")
    assert answer.content[0].text.endswith("one ")


def test_refusal(client: anthropic.Anthropic) -> None:
    answer = ask(client, "ANTHROPIC_MAGIC_STRING_TRIGGER_REFUSAL_0")
    assert answer.stop_reason == "refusal"
    assert answer.content == []
    assert answer.stop_details.type == "refusal"


def test_cache_is_written_then_read(client: anthropic.Anthropic) -> None:
    def system(ttl: str) -> list[dict[str, Any]]:
        return [
            {"type": "text", "text": "a" * 400, "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            {"type": "text", "text": "b" * 40, "cache_control": {"type": "ephemeral", "ttl": ttl}},
        ]

    first = ask(client, "cached?", system=system("5m")).usage
    assert (first.cache_creation_input_tokens, first.cache_read_input_tokens) == (110, 0)
    assert first.cache_creation.ephemeral_1h_input_tokens == 100
    assert first.cache_creation.ephemeral_5m_input_tokens == 10
    second = ask(client, "cached?", system=system("5m")).usage
    assert (second.cache_creation_input_tokens, second.cache_read_input_tokens) == (0, 110)
    assert second.input_tokens == first.input_tokens


def test_count_tokens_agrees_with_usage(client: anthropic.Anthropic) -> None:
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "Wie spät ist es?"}]}]
    counted = client.messages.count_tokens(
        model=MODEL, system="Be brief.", tools=[WEATHER], messages=messages
    )
    used = ask(client, "", system="Be brief.", tools=[WEATHER], messages=messages).usage
    assert counted.input_tokens == used.input_tokens > 0


def test_citations(client: anthropic.Anthropic) -> None:
    document: Any = {
        "type": "document",
        "title": "Facts",
        "source": {"type": "text", "media_type": "text/plain", "data": "The sky is blue. Grass is green."},
        "citations": {"enabled": True},
    }
    content: Any = [document, {"type": "text", "text": "What colour is the sky?"}]
    (block,) = ask(client, "", messages=[{"role": "user", "content": content}]).content
    (citation,) = block.citations
    assert citation.cited_text == "The sky is blue."
    assert (citation.start_char_index, citation.end_char_index) == (0, 16)
    with client.messages.stream(
        model=MODEL, max_tokens=1024, messages=[{"role": "user", "content": content}]
    ) as stream:
        streamed = stream.get_final_message().content[0]
    assert streamed.type == "text"
    assert streamed.citations == [citation]


def test_web_search_counts(client: anthropic.Anthropic) -> None:
    tool = {"type": "web_search_20250305", "name": "web_search"}
    answer = ask(client, "Search the web for news", tools=[tool])
    assert [block.type for block in answer.content] == ["server_tool_use", "web_search_tool_result", "text"]
    assert answer.usage.server_tool_use.web_search_requests == 1
    assert answer.content[2].citations[0].url == "https://example.com/"


def test_code_execution_brings_forth_a_container_and_a_file(client: anthropic.Anthropic) -> None:
    tool = {"type": "code_execution_20250825", "name": "code_execution"}
    answer = ask(client, "Run python code that writes a csv file", tools=[tool])
    file_id = answer.content[1].content.content[0].file_id
    assert client.files.download(file_id).read().startswith(b"number,square")
    again = ask(client, "Hello", tools=[tool], container=answer.container.id)
    assert again.container.id == answer.container.id
    with pytest.raises(anthropic.NotFoundError):
        ask(client, "Hello", tools=[tool], container="container_unknown")


def test_alias_answers_as_its_model(client: anthropic.Anthropic) -> None:
    assert ask(client, "Hello", model="claude-opus-4-5").model == "claude-opus-4-5-20251101"


def test_old_version_takes_sampling_parameters_and_the_new_one_refuses(client: anthropic.Anthropic) -> None:
    old = {"anthropic-version": "2023-06-01"}
    assert ask(client, "Hello", extra_headers=old, extra_body={"temperature": 0.7, "top_p": 0.9, "top_k": 5})
    for name in ("temperature", "top_p", "top_k"):
        with pytest.raises(anthropic.BadRequestError, match=name):
            ask(client, "Hello", extra_body={name: 1})


USER = {"role": "user", "content": "Hello"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}
MARKED = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_tokens": None}, "max_tokens: "),
        ({"max_tokens": 10**9}, "max_tokens: 1000000000 > "),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": [{"role": "user", "content": ""}]}, "non-empty"),
        ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "text: Field required"),
        ({"messages": [USER, {"role": "assistant", "content": "I"}]}, "prefill"),
        (
            {"messages": [USER, {"role": "assistant", "content": [USE]}, USER]},
            "`tool_use` ids were found without",
        ),
        ({"messages": [{"role": "user", "content": [RESULT]}]}, "unexpected `tool_use_id`"),
        ({"messages": [{"role": "user", "content": [MARKED] * 5}]}, "maximum of 4 blocks"),
        ({"tools": [WEATHER, WEATHER]}, "unique"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "x"}}, "not found in provided tools"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "must be greater than"),
    ],
)
def test_refusals(client: anthropic.Anthropic, change: dict[str, Any], message: str) -> None:
    body = {"model": MODEL, "max_tokens": 1024, "messages": [USER], **change}
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.post("/v1/messages", body=body, cast_to=object)
    assert caught.value.type == "invalid_request_error"
    assert message in caught.value.api_message


def test_missing_max_tokens(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.post("/v1/messages", body={"model": MODEL, "messages": [USER]}, cast_to=object)
    assert caught.value.api_message == "max_tokens: Field required"


def test_unknown_model(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="model: claude-none"):
        ask(client, "Hello", model="claude-none")


def test_unknown_file(client: anthropic.Anthropic) -> None:
    content = [{"type": "document", "source": {"type": "file", "file_id": "file_none"}}]
    with pytest.raises(anthropic.NotFoundError, match="file_none"):
        ask(client, "", messages=[{"role": "user", "content": content}])


def test_thread_is_held_and_continued_once(client: anthropic.Anthropic) -> None:
    thread = client.beta.messages.thread(model=MODEL, max_tokens=1024, tools=[WEATHER])
    first = thread.send({"role": "user", "content": "What's the weather?"})
    call = first.content[-1]
    assert call.type == "tool_use"
    result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": "snow"}
    second = thread.send({"role": "user", "content": [result]})
    assert "snow" in second.content[0].to_dict()["text"]
    again = {
        "model": MODEL,
        "max_tokens": 9,
        "messages": [USER],
        "thread": {"type": "continue", "previous_message_id": first.id},
    }
    beta = {"headers": {"anthropic-beta": "message-threads-2026-08-12"}}
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.post("/v1/messages", body=again, options=beta, cast_to=object)
    assert caught.value.error_code == "thread_already_continued"
    again["thread"] = {"type": "continue", "previous_message_id": "msg_none"}
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.post("/v1/messages", body=again, options=beta, cast_to=object)
    assert missing.value.error_code == "thread_not_found"
