"""A message put together from its events is what the SDK makes of them; what is unknown is kept."""

import json
from typing import Any

import pytest

from gateway.message import MessageAccumulator
from tests.support.transcripts import CITATION, FULL, START, Event


def accumulated(stream: list[Event]) -> dict[str, Any]:
    accumulator = MessageAccumulator()
    for payload in stream:
        accumulator.add(payload)
    return accumulator.message()


def test_every_kind_of_delta() -> None:
    message = accumulated(FULL)

    assert message["content"] == [
        {"type": "thinking", "thinking": "What is asked?", "signature": "RXhhY3Q/Ynl0ZXM="},
        {"type": "text", "text": "Grüße 👋, \u2028line\nend \u0000", "citations": [CITATION]},
        {
            "type": "tool_use",
            "id": "toolu_01",
            "name": "get_weather",
            "input": {"location": "San Francisco, CA", "days": [1, 2]},
        },
    ]
    assert message["usage"] == {**START["message"]["usage"], "output_tokens": 89}
    assert (message["stop_reason"], message["stop_sequence"]) == ("tool_use", None)


def block(*deltas: Event, of: Event) -> dict[str, Any]:
    stream = [START, {"type": "content_block_start", "index": 0, "content_block": of}]
    stream += [{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas]
    (found,) = accumulated(stream)["content"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("json_text", "expected"),
    [("", {}), ('{"a": 1', {"a": 1}), ('{"a": "cut', {}), ("nonsense", "nonsense"), ("[1]", [1])],
)
def test_tool_input_that_breaks_off(json_text: str, expected: object) -> None:
    delta = {"type": "input_json_delta", "partial_json": json_text}

    assert block(delta, of={"type": "tool_use", "input": {}})["input"] == expected


def test_unknown_deltas_and_blocks_are_kept() -> None:
    delta = {"type": "novel_delta", "novel": [1], "deep": {"a": 2}}

    assert block(delta, of={"type": "novel", "x": 1}) == {
        "type": "novel",
        "x": 1,
        "novel": [1],
        "deep": {"a": 2},
    }


def test_a_text_that_begins_as_none_is_what_its_deltas_say() -> None:
    for odd in (None, ["a"], 1):
        assert block({"type": "text_delta", "text": "Hi"}, of={"type": "text", "text": odd})["text"] == "Hi"


def test_deltas_go_on_from_what_their_block_began_with() -> None:
    two = [{"type": "citations_delta", "citation": {"n": n}} for n in (2, 3)]
    begun = {"type": "text", "text": "Good ", "citations": [{"n": 1}]}

    assert block({"type": "text_delta", "text": "day"}, *two, of=begun) == {
        "type": "text",
        "text": "Good day",
        "citations": [{"n": 1}, {"n": 2}, {"n": 3}],
    }


@pytest.mark.parametrize("kind", ["text_delta", "citations_delta", "novel_delta"])
def test_a_delta_of_a_block_that_has_not_begun_is_left_out(kind: str) -> None:
    assert accumulated([START, {"type": "content_block_delta", "index": 0, "delta": {"type": kind}}]) == {
        **START["message"],
        "content": [],
    }
    accumulator = MessageAccumulator()
    assert not accumulator.add_part(0, "text", b"Hi")
    assert accumulator.message() == {"content": []}


def test_a_message_that_is_asked_for_twice_is_the_same() -> None:
    accumulator = MessageAccumulator()
    for payload in FULL:
        accumulator.add(payload)

    first = json.dumps(accumulator.message())

    assert json.dumps(accumulator.message()) == first


def test_unknown_members_of_the_last_delta_are_kept() -> None:
    end = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "container": {"id": "c"}},
        "usage": {"output_tokens": 3, "input_tokens": None},
        "context_management": {"applied_edits": []},
    }

    message = accumulated([START, end])

    assert message["container"] == {"id": "c"}
    assert message["context_management"] == {"applied_edits": []}
    assert message["usage"]["input_tokens"] == 25


def test_what_the_last_delta_leaves_empty_stays_as_it_began() -> None:
    """As with the SDK: `container` is null in the delta of a message whose beginning told it."""
    begun = {"type": "message_start", "message": {**START["message"], "container": {"id": "c"}}}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "container": None}}

    message = accumulated([begun, {**end, "context_management": None}])

    assert message["container"] == {"id": "c"}
    assert message["stop_reason"] == "end_turn"
    assert "context_management" not in message


def test_blocks_in_the_order_of_their_index() -> None:
    stream = [
        START,
        *({"type": "content_block_start", "index": at, "content_block": {"n": at}} for at in (2, 0, 1)),
    ]

    assert [found["n"] for found in accumulated(stream)["content"]] == [0, 1, 2]


def test_events_are_left_as_they_were() -> None:
    """The accumulator must not write into what others still read."""
    before = [dict(payload) for payload in FULL]

    accumulated(FULL)

    assert before == FULL
    assert START["message"]["content"] == []
