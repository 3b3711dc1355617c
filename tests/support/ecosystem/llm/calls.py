"""What a program does with `llm` and its plugin for Anthropic; base URL and key come from the environment."""

import json

import llm

MODEL = "anthropic/claude-haiku-4-5-20251001"


def get_weather(city: str) -> str:
    """Tells the weather of a city."""
    asked.append(city)
    return "21 degrees and sunny"


asked: list[str] = []
model = llm.get_model(MODEL)

said = model.prompt("Hello", stream=False)
assert "Hello" in said.text()
assert said.usage().output

pieces = list(model.prompt("Say 60 words please: 60 words"))
assert len(pieces) > 2
assert len("".join(pieces)) > 100

final = model.chain("What is the weather?", tools=[get_weather]).text()
assert len(asked) == 1
assert "21 degrees and sunny" in final

report = model.prompt("Report the weather.", schema=llm.schema_dsl("city, degrees int"), stream=False)
assert json.loads(report.text()).keys() == {"city", "degrees"}
