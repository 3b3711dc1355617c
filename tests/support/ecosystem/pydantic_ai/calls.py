"""What a Pydantic AI program does; base URL and key come from the environment."""

import asyncio

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel


class Report(BaseModel):
    """A weather report."""

    city: str
    degrees: int


model = AnthropicModel("claude-opus-5-5")
plain = Agent(model, instructions="Be brief.", model_settings={"max_tokens": 200})
armed = Agent(model)
asked = []


@armed.tool_plain
def get_weather(city: str) -> str:
    """Tells the weather of a city."""
    asked.append(city)
    return "21 degrees and sunny"


async def main() -> None:
    said = await plain.run("Hello")
    assert "Hello" in said.output
    assert said.usage.output_tokens > 0

    async with plain.run_stream("Say 60 words please: 60 words") as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
    assert len(pieces) > 2
    assert len("".join(pieces)) > 100

    final = await armed.run("What is the weather?")
    assert len(asked) == 1
    assert "21 degrees and sunny" in final.output

    report = await Agent(AnthropicModel("claude-haiku-4-5"), output_type=Report).run("Report the weather.")
    assert isinstance(report.output, Report)


asyncio.run(main())
