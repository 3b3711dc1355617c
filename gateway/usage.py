"""What a call used, as Anthropic counts it.

`input_tokens` already leaves out what was read from the cache or written to it, so the five token counts are
disjoint and each has a price of its own (https://platform.claude.com/docs/en/build-with-claude/prompt-caching).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

BYTES_PER_TOKEN = 4
"""English prose in UTF-8; dense text has fewer, so a floor made from it is one."""

IMAGE_TOKENS = 1600
"""A picture of about one megapixel (https://platform.claude.com/docs/en/build-with-claude/vision)."""

DOCUMENT_BYTES_PER_TOKEN = 32
"""A PDF page has some 80 kB in base64 and some 2,500 tokens."""

ESTIMATE_CLOSELY_ABOVE = 16_384
"""Bytes up to which a body is taken for text; a larger one may hold pictures, whose size says little."""


@dataclass(slots=True)
class Sampling:
    """One pass of one model: the unit that Anthropic bills.

    Most calls have one. Compaction, an advisor, tools on the server and a fallback to another model make it
    several.
    """

    model: str
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0

    @property
    def prompt_tokens(self) -> int:
        """The whole prompt, cached or not: what decides about prices for large prompts."""
        return (
            self.input_tokens
            + self.cache_read_tokens
            + self.cache_write_5m_tokens
            + self.cache_write_1h_tokens
        )

    def add(self, other: "Sampling") -> None:
        """Add the counts of another one."""
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cache_read_tokens += other.cache_read_tokens
        self.cache_write_5m_tokens += other.cache_write_5m_tokens
        self.cache_write_1h_tokens += other.cache_write_1h_tokens

    @classmethod
    def read(cls, model: str, usage: Mapping[str, Any]) -> Self:
        """Read the token counts of a `usage` object or of one entry of its `iterations`."""
        written = _count(usage, "cache_creation_input_tokens")
        written_1h = 0
        split = usage.get("cache_creation")
        if isinstance(split, dict):
            written_1h = _count(split, "ephemeral_1h_input_tokens")
            if usage.get("cache_creation_input_tokens") is None:
                written = written_1h + _count(split, "ephemeral_5m_input_tokens")
            # After a fallback the split may be that of the attempt before: the total holds.
            written_1h = min(written_1h, written)
        return cls(
            model,
            _count(usage, "input_tokens"),
            _count(usage, "output_tokens"),
            _count(usage, "cache_read_input_tokens"),
            written - written_1h,
            written_1h,
        )


@dataclass(slots=True)
class Usage:
    """What one call is billed for.

    Args:
        model: the model that answered.
        samplings: all that is billed, each with its own model.
        estimated: the counts are a floor (the call was cut off) or the bill may differ from them.
    """

    model: str
    samplings: tuple[Sampling, ...]
    service_tier: str = "standard"
    inference_geo: str | None = None
    speed: str | None = None
    web_search_requests: int = 0
    web_fetch_requests: int = 0
    code_execution_requests: int = 0
    estimated: bool = False

    @classmethod
    def none(cls, model: str) -> Self:
        """The usage of a call that Anthropic refused or that never reached it."""
        return cls(model, ())

    @classmethod
    def read(cls, model: str, usage: Mapping[str, Any], stop_reason: str | None = None) -> Self:
        """Read a whole message's `usage`.

        Args:
            model: the message's `model`.
            usage: its `usage`; for a stream, `merge` of what its events said.
            stop_reason: its `stop_reason`: what was refused before any output is shown but not billed
                (https://platform.claude.com/docs/en/build-with-claude/refusals-and-fallback).
        """
        tools = usage.get("server_tool_use")
        if not isinstance(tools, dict):
            tools = {}
        return cls(
            model,
            _billed(model, usage, stop_reason),
            _text(usage, "service_tier") or "standard",
            _text(usage, "inference_geo"),
            _text(usage, "speed"),
            _count(tools, "web_search_requests"),
            _count(tools, "web_fetch_requests"),
            _count(tools, "code_execution_requests"),
            estimated=_credited(usage),
        )

    @classmethod
    def floor(
        cls, model: str, started: Mapping[str, Any] | None, *, text_bytes: int = 0, input_tokens: int = 0
    ) -> Self:
        """The least that a call used which broke off: the prompt, and the output that was seen.

        Args:
            model: the model that answered, else the one asked for.
            started: the `usage` seen so far, of `message_start` or later; None when nothing was seen.
            text_bytes: UTF-8 bytes of text, thinking and tool input that were relayed.
            input_tokens: the estimate of the prompt, which holds where no usage tells it.
        """
        usage = cls.read(model, started or {})
        usage.estimated = True
        usage.samplings = usage.samplings or (Sampling.read(model, started or {}),)  # the attempt under way
        last = usage.samplings[-1]
        if not last.prompt_tokens:
            last.input_tokens = input_tokens
        last.output_tokens = max(last.output_tokens, -(-text_bytes // BYTES_PER_TOKEN))
        return usage

    @property
    def total(self) -> Sampling:
        """All token counts added up."""
        if len(self.samplings) == 1:
            return self.samplings[0]
        total = Sampling(self.model)
        for sampling in self.samplings:
            total.add(sampling)
        return total


def merge(start: Mapping[str, Any], delta: Mapping[str, Any]) -> dict[str, Any]:
    """Join `usage` of `message_start` with that of the last `message_delta`, whose counts are cumulative."""
    return {**start, **{name: value for name, value in delta.items() if value is not None}}


def estimate_input_tokens(body: Mapping[str, Any], size: int) -> int:
    """Estimate the prompt of a request for limits and reservations; never for a bill.

    Args:
        body: the parsed body.
        size: its length in bytes.
    """
    if size <= ESTIMATE_CLOSELY_ABOVE:
        return size // BYTES_PER_TOKEN + 1
    media_bytes = media_tokens = 0
    for data, kind in _media(body.get("messages")):
        media_bytes += len(data)
        media_tokens += IMAGE_TOKENS if kind == "image" else len(data) // DOCUMENT_BYTES_PER_TOKEN
    return max(size - media_bytes, 0) // BYTES_PER_TOKEN + media_tokens + 1


def _media(node: object) -> list[tuple[str, str]]:
    """All base64 sources of images and documents, with their block's type."""
    found: list[tuple[str, str]] = []
    waiting = [node]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            source = item.get("source")
            data = source.get("data") if isinstance(source, dict) and source.get("type") == "base64" else None
            if isinstance(data, str):
                found.append((data, str(item.get("type"))))
            else:
                waiting.append(item.get("content"))
    return found


def _billed(model: str, usage: Mapping[str, Any], stop_reason: str | None) -> tuple[Sampling, ...]:
    """The passes that Anthropic bills.

    With `iterations`, they are the record of the bill: the counts beside them leave out compaction and all
    attempts but the one that answered.
    """
    entries = usage.get("iterations")
    if not isinstance(entries, list) or not entries:
        sampling = Sampling.read(model, usage)
        refused = stop_reason == "refusal" and sampling.output_tokens == 0
        return () if refused else (sampling,)
    entries = [entry for entry in entries if isinstance(entry, dict)]
    declined = stop_reason == "refusal" or any(entry.get("type") == "fallback_message" for entry in entries)
    samplings = (_attempt(model, entry) for entry in entries)
    return tuple(
        sampling
        for sampling, entry in zip(samplings, entries, strict=True)
        if sampling.output_tokens or not (declined and entry.get("type") in {"message", "fallback_message"})
    )


def _attempt(model: str, entry: Mapping[str, Any]) -> Sampling:
    own = entry.get("model")
    return Sampling.read(own if isinstance(own, str) else model, entry)


def _credited(usage: Mapping[str, Any]) -> bool:
    """Whether a fallback credit changed the bill in a way that the counts do not show."""
    credit = usage.get("fallback_credit")
    if credit is None:
        return False
    status = credit.get("status") if isinstance(credit, dict) else None
    return isinstance(status, dict) and status.get("type") == "redeemed"


def _text(usage: Mapping[str, Any], name: str) -> str | None:
    value = usage.get(name)
    return value if isinstance(value, str) else None


def _count(usage: Mapping[str, Any], name: str) -> int:
    """A count, 0 when it is absent, null or no count at all: an odd answer must not break the booking."""
    value = usage.get(name)
    return value if type(value) is int and value > 0 else 0
