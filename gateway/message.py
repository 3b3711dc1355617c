"""Put the message of a stream together from its events, keeping members that are not known here."""

import json
from typing import Any

import jiter

from gateway.usage import merge

_APPENDED = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}
"""Deltas that add text to a member of their block (a signature comes whole, in one delta)."""


class MessageAccumulator:
    """Builds the final message from its events; unknown events are left alone."""

    __slots__ = ("_content", "_message", "_parts")

    def __init__(self) -> None:
        self._message: dict[str, Any] = {}
        self._content: dict[int, dict[str, Any]] = {}
        self._parts: dict[tuple[int, str], list[bytes]] = {}

    @property
    def usage(self) -> dict[str, Any] | None:
        """Usage as far as it is known."""
        return self._message.get("usage")

    @property
    def model(self) -> str | None:
        """The model that answers, once it is known."""
        return self._message.get("model")

    @property
    def stop_reason(self) -> str | None:
        """Why the model stopped, once it has."""
        return self._message.get("stop_reason")

    def add(self, event: dict[str, Any]) -> None:
        """Take in one event."""
        match event:
            case {"type": "message_start", "message": dict(message)}:
                self._message = dict(message)
            case {"type": "content_block_start", "index": int(index), "content_block": dict(block)}:
                self._content[index] = dict(block)
                if (model := fallen_back_to(block)) is not None:
                    self._message["model"] = model
            case {"type": "content_block_delta", "index": int(index), "delta": dict(delta)} if (
                index in self._content
            ):
                self._add_delta(index, delta)
            case {"type": "message_delta"}:
                self._add_message_delta(event)

    def add_part(self, index: int, member: str, text: bytes) -> bool:
        """Take in a delta that adds text to a member of its block.

        Args:
            index: the block's.
            member: of the block.
            text: as it stands between the quotes of valid JSON.

        Returns:
            Whether the block has begun; nothing is taken in else.
        """
        if index not in self._content:
            return False
        self._parts.setdefault((index, member), []).append(text)
        return True

    def message(self) -> dict[str, Any]:
        """The message so far."""
        for (index, member), parts in self._parts.items():
            block = self._content[index]
            text = json.loads(f'"{b"".join(parts).decode(errors="replace")}"')
            if member != "input":
                begun = block.get(member)
                block[member] = begun + text if isinstance(begun, str) else text
            elif text:
                try:
                    block[member] = jiter.from_json(text.encode(), partial_mode=True)
                except ValueError:
                    block[member] = text
        self._parts.clear()
        return {**self._message, "content": [self._content[index] for index in sorted(self._content)]}

    def _add_delta(self, index: int, delta: dict[str, Any]) -> None:
        kind = delta.get("type")
        if kind in _APPENDED:
            self.add_part(index, _APPENDED[kind], _quoted(delta.get(_APPENDED[kind], "")))
        elif kind == "input_json_delta":
            self.add_part(index, "input", _quoted(delta.get("partial_json", "")))
        elif kind == "citations_delta":
            block = self._content[index]
            block["citations"] = [*(block.get("citations") or ()), delta.get("citation")]
        else:
            self._content[index].update({name: value for name, value in delta.items() if name != "type"})

    def _add_message_delta(self, event: dict[str, Any]) -> None:
        delta, usage = event.get("delta"), event.get("usage")
        if isinstance(delta, dict):
            self._message.update({name: value for name, value in delta.items() if value is not None})
        if isinstance(usage, dict):
            self._message["usage"] = merge(self._message.get("usage") or {}, usage)
        further = {name: value for name, value in event.items() if name not in ("type", "delta", "usage")}
        self._message.update({name: value for name, value in further.items() if value is not None})


def fallen_back_to(block: dict[str, Any]) -> str | None:
    """The model that goes on from a block where another one has declined: it is the one that answers.

    A whole message names it as its `model`; in a stream `message_start` has named the one that declined.
    """
    match block:
        case {"type": "fallback", "to": {"model": str(model)}}:
            return model
    return None


def _quoted(text: object) -> bytes:
    """A text as it stands between the quotes of JSON."""
    return json.dumps(str(text))[1:-1].encode()
