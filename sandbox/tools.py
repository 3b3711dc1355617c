"""Which tool an answer calls, and with what input."""

import re
from typing import Any

from sandbox.prompts import Body
from sandbox.schema_values import value_for

Tool = dict[str, Any]

_WORD = re.compile(r"[a-z]+|[A-Z][a-z]+|[A-Z]+")
_COMMON_WORDS = """
about all and any are ask call can data does for from get give given have how its list make new not now one
please return run say set show tell that the their then this tool use used user using want what when where
which who will with would you your
"""
_COMMON = frozenset(_COMMON_WORDS.split())
"""Words that are in too many prompts and descriptions to tell one tool from another."""
_HINTS = {
    "web_search": "search web news latest",
    "web_fetch": "fetch url http https page",
    "code_execution": "code python execute calculate compute chart plot csv script",
    "tool_search_tool": "find discover",
    "bash": "bash shell command terminal",
    "text_editor": "edit file",
    "computer": "screenshot click screen desktop",
    "memory": "remember memory",
}
"""What a prompt may say to call a tool of Anthropic's own, by the start of the tool's type."""
_INPUTS: dict[str, dict[str, Any]] = {
    "bash": {"command": "echo sandbox"},
    "text_editor": {"command": "view", "path": "/sandbox/example.txt"},
    "computer": {"action": "screenshot"},
    "memory": {"command": "view", "path": "/memories"},
}
SERVER_TOOLS = ("web_search", "web_fetch", "code_execution", "tool_search_tool")


def chosen(body: Body, text: str) -> Tool | None:
    """The tool that the answer calls, if any.

    A `tool_choice` of `any` or `tool` forces one. Otherwise a tool is called when `text`, what the user said
    last, has a word of its name or of the first sentence of its description; words of the name count more.
    """
    tools = [tool for tool in body.get("tools") or () if isinstance(tool.get("name"), str)]
    choice: dict[str, Any] = body.get("tool_choice") or {}
    kind = choice.get("type", "auto")
    if not tools or kind == "none":
        return None
    if kind == "tool":
        tools = [tool for tool in tools if tool["name"] == choice["name"]]
        kind = "any"
    words = _words(text)
    best: Tool = max(tools, key=lambda tool: _score(tool, words))
    return best if kind == "any" or _score(best, words) else None


def family(tool: Tool) -> str | None:
    """The start of the type of a tool of Anthropic's own, such as `web_search`; None for the caller's."""
    kind = str(tool.get("type") or "")
    return next((name for name in _HINTS if kind.startswith(name)), None)


def input_for(tool: Tool) -> dict[str, Any]:
    """An input that fits the tool."""
    own = family(tool)
    if own in _INPUTS:
        return _INPUTS[own]
    value = value_for(tool.get("input_schema") or {"type": "object"})
    return value if isinstance(value, dict) else {}


def _score(tool: Tool, words: set[str]) -> int:
    hints = _HINTS.get(family(tool) or "", "")
    description = str(tool.get("description") or "")
    return 3 * len(words & _words(f"{tool['name']} {hints}")) + len(
        words & _words(description.partition(". ")[0])
    )


def _words(text: str) -> set[str]:
    """Telling words in lower case, without a plural's s. Long texts are judged by their start and end."""
    if len(text) > 4_000:
        text = text[:2_000] + " " + text[-2_000:]
    words = (word.lower() for word in _WORD.findall(text))
    return {word.rstrip("s") for word in words if len(word) > 2 and word not in _COMMON}
