"""A request's prompt, taken apart: its blocks in the order in which the model would read them, their tokens.

Tokens are estimated: four bytes of UTF-8 make one, each block is rounded up, a message adds four, an image
has 1,000 and a PDF 2,000. `count_tokens` and `usage` both come from here, so they agree.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sandbox.http import dump

Block = dict[str, Any]
Body = dict[str, Any]

_MESSAGE_TOKENS = 4
_IMAGE_TOKENS = 1_000
_PDF_TOKENS = 2_000


@dataclass(slots=True)
class Segment:
    """One block of the prompt: the smallest thing that a cache breakpoint can follow."""

    role: str
    block: Block
    tokens: int
    ttl: str | None
    """`5m` or `1h` when the block is a cache breakpoint."""


def segments(body: Body) -> list[Segment]:
    """The blocks of tools, system and messages, in this order."""
    found = [Segment("tools", tool, _json_tokens(tool), _ttl(tool)) for tool in body.get("tools") or ()]
    found += [_segment("system", block) for block in blocks(body.get("system"))]
    for message in body["messages"]:
        first = len(found)
        found += [_segment(message["role"], block) for block in blocks(message.get("content"))]
        if len(found) > first:
            found[first].tokens += _MESSAGE_TOKENS
    if found and body.get("cache_control"):
        found[-1].ttl = found[-1].ttl or _ttl(body)
    return found


def blocks(content: str | list[Block] | None) -> list[Block]:
    """A message's or a system prompt's content as blocks."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content or []


def tokens_of(text: str | bytes) -> int:
    """The tokens of a text: its UTF-8 bytes divided by four, rounded up."""
    size = len(text) if isinstance(text, bytes) or text.isascii() else len(text.encode())
    return -(-size // 4)


def last_text(body: Body) -> str:
    """What the user said last, its text blocks joined."""
    return "\n".join(block["text"] for block in _last_said(body) if block.get("type") == "text")


def tool_results(body: Body) -> list[Block]:
    """The tool results in what the user said last."""
    return [block for block in _last_said(body) if block.get("type") == "tool_result"]


def _last_said(body: Body) -> list[Block]:
    """The last message's blocks; one of role `system`, which may follow the user's, is passed over."""
    said = [message for message in body["messages"] if message["role"] != "system"]
    return blocks(said[-1]["content"]) if said else []


def walk(content: str | list[Block] | None) -> Iterator[Block]:
    """All blocks of a content, those inside of results and documents too; unknown ones hold anything."""
    for block in blocks(content):
        yield block
        inner = block.get("content")
        if isinstance(inner, list):
            yield from walk([one for one in inner if isinstance(one, dict)])


def _segment(role: str, block: Block) -> Segment:
    return Segment(role, block, _block_tokens(block), _ttl(block))


def _ttl(block: Block) -> str | None:
    control = block.get("cache_control")
    return control.get("ttl", "5m") if isinstance(control, dict) else None


def _block_tokens(block: Block) -> int:
    match block.get("type"):
        case "text":
            return tokens_of(block["text"])
        case "image":
            return _IMAGE_TOKENS
        case "document":
            return _document_tokens(block.get("source") or {})
        case "tool_result":
            return sum(map(_block_tokens, blocks(block.get("content"))))
        case "tool_use":
            return tokens_of(block["name"]) + tokens_of(dump(block["input"]))
    return _json_tokens(block)


def _json_tokens(block: Block) -> int:
    return tokens_of(dump({key: value for key, value in block.items() if key != "cache_control"}))


def _document_tokens(source: Block) -> int:
    if source.get("type") == "text":
        return tokens_of(source["data"])
    if source.get("type") == "content":
        return sum(map(_block_tokens, blocks(source["content"])))
    return _PDF_TOKENS
