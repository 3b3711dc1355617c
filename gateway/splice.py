"""Change single members of a JSON text and leave every other byte as it was.

The envelope accepts a few shapes that Anthropic does not (docs/adr/0003); only these are rewritten, because
bodies may hold blocks that are bound to their exact bytes. Lists are cut in the same way (docs/adr/0008).
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

DEFAULT_MAX_TOKENS = 1024
"""What the envelope asks for where a caller names no `max_tokens`."""

_SPACE = " \t\n\r"
_decode = json.JSONDecoder().raw_decode


Edit = tuple[int, int, bytes]
"""Start and end of some bytes, and what stands there instead."""


def message_edits(
    raw: bytes, payload: dict[str, Any], *, stream: bool | None, count: bool = False
) -> list[Edit]:
    """What makes a message request one in Anthropic's own shape.

    Args:
        raw: the caller's bytes: one JSON object, already checked.
        payload: the same, parsed.
        stream: the value that `stream` must have, or None to leave it as it is.
        count: the body is for count_tokens, which has no `max_tokens`.
    """
    added = b""
    if not count and "max_tokens" not in payload:
        added += b'"max_tokens":%d,' % DEFAULT_MAX_TOKENS
    if stream and "stream" not in payload:
        added += b'"stream":true,'
    replaced: dict[str, Any] = {}
    if isinstance(payload.get("tool_choice"), str):
        replaced["tool_choice"] = {"type": payload["tool_choice"]}
    if stream and payload.get("stream", True) is not True:
        replaced["stream"] = True
    edits = []
    if added:
        start = raw.index(b"{") + 1
        edits.append((start, start, added))
    if replaced:
        text = _text(raw)
        edits += _edits(text, _skip(text, 0), replaced)
    return edits


def batch_edits(raw: bytes, payload: dict[str, Any]) -> list[Edit]:
    """What makes a batch request one in Anthropic's own shape: the same in the `params` of each request."""
    requests = payload["requests"]
    if not any(
        "max_tokens" not in r["params"] or isinstance(r["params"].get("tool_choice"), str) for r in requests
    ):
        return []
    text = _text(raw)
    edits: list[Edit] = []
    spans = {key: start for key, start, _ in _members(text, _skip(text, 0))}
    for request, (start, _) in zip(requests, _elements(text, spans["requests"]), strict=True):
        params = request["params"]
        position = {key: at for key, at, _ in _members(text, start)}["params"]
        if "max_tokens" not in params:
            edits.append((position + 1, position + 1, b'"max_tokens":%d,' % DEFAULT_MAX_TOKENS))
        if isinstance(params.get("tool_choice"), str):
            edits += _edits(text, position, {"tool_choice": {"type": params["tool_choice"]}})
    return edits


def apply(raw: bytes, edits: Iterable[Edit]) -> bytes:
    """Some bytes with others in the places that the edits name."""
    parts, done = [], 0
    for start, end, new in sorted(edits):
        parts += [raw[done:start], new]
        done = end
    return b"".join([*parts, raw[done:]]) if parts else raw


def items_of(raw: bytes, name: str) -> list[bytes]:
    """The items of a list that is a member of an object, each as it was written.

    Args:
        raw: one JSON object, known to be valid.
        name: of the member.
    """
    text = _text(raw)
    for key, start, _ in _members(text, _skip(text, 0)):
        if key == name:
            return [raw[first:end] for first, end in _elements(text, start)]
    return []


def with_members(raw: bytes, members: Mapping[str, bytes]) -> bytes:
    """An object with other values in some of its members; those that it lacks are not added.

    Args:
        raw: one JSON object, known to be valid.
        members: the new values, as JSON.
    """
    text = _text(raw)
    spans = _members(text, _skip(text, 0))
    return apply(raw, [(start, end, members[key]) for key, start, end in spans if key in members])


def _text(raw: bytes) -> str:
    """The bytes as a text with a character for each, so that places in it are places in them.

    It holds JSON's own signs where they are; letters beyond ASCII are others, and nothing looks at those.
    """
    return raw.decode("latin-1")


def _edits(text: str, position: int, replaced: dict[str, Any]) -> list[Edit]:
    return [
        (start, end, json.dumps(replaced[key], separators=(",", ":")).encode())
        for key, start, end in _members(text, position)
        if key in replaced
    ]


def _skip(text: str, position: int) -> int:
    while text[position] in _SPACE:
        position += 1
    return position


def _members(text: str, position: int) -> Iterator[tuple[str, int, int]]:
    """Key, start and end of each member's value of the object at `position`."""
    position = _skip(text, position + 1)
    while text[position] != "}":
        key, position = scanstring(text, position + 1)
        start = _skip(text, _skip(text, position) + 1)
        _, end = _decode(text, start)
        yield key, start, end
        position = _skip(text, end)
        if text[position] == ",":
            position = _skip(text, position + 1)


def _elements(text: str, position: int) -> Iterator[tuple[int, int]]:
    """Start and end of each element of the array at `position`."""
    position = _skip(text, position + 1)
    while text[position] != "]":
        _, end = _decode(text, position)
        yield position, end
        position = _skip(text, end)
        if text[position] == ",":
            position = _skip(text, position + 1)
