"""Change single members of a JSON text and leave every other byte as it was.

The envelope accepts a few shapes that Anthropic does not (docs/adr/0003); only these are rewritten, because
bodies may hold blocks that are bound to their exact bytes. Lists are cut in the same way (docs/adr/0008).
"""

import json
from collections.abc import Iterator, Mapping
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

DEFAULT_MAX_TOKENS = 1024
_SPACE = " \t\n\r"
_decode = json.JSONDecoder().raw_decode


def message_body(raw: bytes, payload: dict[str, Any], *, stream: bool | None, count: bool = False) -> bytes:
    """A message request in Anthropic's own shape.

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
    replaced = {}
    if isinstance(payload.get("tool_choice"), str):
        replaced["tool_choice"] = {"type": payload["tool_choice"]}
    if stream and payload.get("stream", True) is not True:
        replaced["stream"] = True  # type: ignore[assignment]
    if replaced:
        text = raw.decode()
        raw = _replace(text, _edits(text, _skip(text, 0), replaced)).encode()
    if added:
        start = raw.index(b"{") + 1
        raw = raw[:start] + added + raw[start:]
    return raw


def batch_body(raw: bytes, payload: dict[str, Any]) -> bytes:
    """A batch request in Anthropic's own shape: the same allowances in the `params` of each request."""
    requests = payload["requests"]
    if not any(
        "max_tokens" not in r["params"] or isinstance(r["params"].get("tool_choice"), str) for r in requests
    ):
        return raw
    text = raw.decode()
    edits: list[tuple[int, int, str]] = []
    spans = {key: start for key, start, _ in _members(text, _skip(text, 0))}
    for request, (start, _) in zip(requests, _elements(text, spans["requests"]), strict=True):
        params = request["params"]
        position = {key: at for key, at, _ in _members(text, start)}["params"]
        if "max_tokens" not in params:
            edits.append((position + 1, position + 1, f'"max_tokens":{DEFAULT_MAX_TOKENS},'))
        if isinstance(params.get("tool_choice"), str):
            edits += _edits(text, position, {"tool_choice": {"type": params["tool_choice"]}})
    return _replace(text, edits).encode()


def items_of(raw: bytes, name: str) -> list[bytes]:
    """The items of a list that is a member of an object, each as it was written.

    Args:
        raw: one JSON object, known to be valid.
        name: of the member.
    """
    text = raw.decode()
    for key, start, _ in _members(text, _skip(text, 0)):
        if key == name:
            return [text[first:end].encode() for first, end in _elements(text, start)]
    return []


def with_members(raw: bytes, members: Mapping[str, bytes]) -> bytes:
    """An object with other values in some of its members; those that it lacks are not added.

    Args:
        raw: one JSON object, known to be valid.
        members: the new values, as JSON.
    """
    text = raw.decode()
    spans = _members(text, _skip(text, 0))
    return _replace(
        text, [(start, end, members[key].decode()) for key, start, end in spans if key in members]
    ).encode()


def _edits(text: str, position: int, replaced: dict[str, Any]) -> list[tuple[int, int, str]]:
    return [
        (start, end, json.dumps(replaced[key], separators=(",", ":")))
        for key, start, end in _members(text, position)
        if key in replaced
    ]


def _replace(text: str, edits: list[tuple[int, int, str]]) -> str:
    parts, done = [], 0
    for start, end, new in sorted(edits):
        parts += [text[done:start], new]
        done = end
    return "".join([*parts, text[done:]])


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
