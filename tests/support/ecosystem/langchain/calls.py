"""What a LangChain program does; base URL and key come from the environment."""

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel


@tool
def get_weather(city: str) -> str:
    """Tells the weather of a city."""
    return "21 degrees and sunny"


class Report(BaseModel):
    """A weather report."""

    city: str
    degrees: int


model = ChatAnthropic(model="claude-opus-5-5", max_tokens=200)
haiku = ChatAnthropic(model="claude-haiku-4-5", max_tokens=200)

said = model.invoke([SystemMessage("Be brief."), HumanMessage("Hello")])
assert "Hello" in said.text
assert said.usage_metadata is not None
assert said.usage_metadata["output_tokens"] > 0

pieces = list(model.stream("Say 60 words please: 60 words"))
assert len(pieces) > 2
whole = sum(pieces[1:], pieces[0])
assert len(whole.text) > 100
assert whole.usage_metadata is not None

question = HumanMessage("What is the weather?")
armed = model.bind_tools([get_weather])
call = armed.invoke([question])
(wanted,) = call.tool_calls
assert wanted["name"] == "get_weather"
answer = get_weather.invoke(wanted)
assert isinstance(answer, ToolMessage)
final = armed.invoke([question, call, answer])
assert "21 degrees and sunny" in final.text

report = haiku.with_structured_output(Report).invoke("Report the weather.")
assert isinstance(report, Report)

assert model.get_num_tokens_from_messages([question]) > 0
