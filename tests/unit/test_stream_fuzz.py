"""Streams and lines of any bytes, cut anywhere: what comes out depends on the bytes alone."""

import json
import time
from itertools import pairwise

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.lines import LineSplitter
from gateway.sse import EnvelopeStream, EventSplitter, Meter
from tests.support.transcripts import FULL, OVERLOADED, SHORT, event, events

LONG = 16_000_000
PIECE = 1 << 15
LINEAR_SECONDS = 5.0
"""To cut LONG bytes takes hundredths of a second; were each piece joined to all before, half a minute."""

quick = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
types = st.sampled_from([str(payload["type"]) for payload in [*FULL, OVERLOADED]]) | st.text(max_size=10)
names = st.sampled_from(
    [
        "message",
        "delta",
        "usage",
        "index",
        "content_block",
        "error",
        "text",
        "input_tokens",
        "type",
        "file_id",
    ]
)


@st.composite
def odd_events(draw: st.DrawFn) -> bytes:
    """Events that are nearly Anthropic's: a known type, and anything at all in its members."""
    members = draw(
        st.dictionaries(names, json_values | st.dictionaries(names, json_values, max_size=3), max_size=4)
    )
    return event({**members, "type": draw(types)})


streams = st.one_of(
    st.binary(max_size=200),
    st.text(alphabet='data:event \r\n{}"', max_size=80).map(str.encode),
    st.lists(odd_events() | st.sampled_from([event(payload) for payload in FULL]), max_size=8).map(b"".join),
)
cuts = st.lists(st.integers(0, 400), max_size=8)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]


@quick
@given(streams, cuts)
@example(b"data: x\r", [7])
@example(b"a\r\n\r\nb", [2, 3])
def test_events_do_not_depend_on_the_cuts(data: bytes, places: list[int]) -> None:
    whole, pieces = EventSplitter(), EventSplitter()
    expected = whole.feed(data)
    found = [found for piece in cut(data, places) for found in pieces.feed(piece)]

    # Of "\r" at a cut nobody knows yet whether "\n" follows: the same events, with other line ends around.
    assert [one.strip(b"\r\n") for one in found if one.strip(b"\r\n")] == [
        one.strip(b"\r\n") for one in expected if one.strip(b"\r\n")
    ]
    assert whole.at_boundary == pieces.at_boundary


@given(streams, cuts)
@quick
def test_native_streams_pass_as_they_are(data: bytes, places: list[int]) -> None:
    pieces, meter, expected = cut(data, places), Meter(), Meter()
    expected.feed(data)

    assert [meter.feed(piece) for piece in pieces] == pieces
    assert (meter.usage, meter.model, meter.finished, meter.error_type) == (
        expected.usage,
        expected.model,
        expected.finished,
        expected.error_type,
    )


@given(st.lists(odd_events(), max_size=6).map(b"".join), cuts)
@quick
def test_whatever_upstream_says_the_envelope_says_whole_frames(data: bytes, places: list[int]) -> None:
    whole, stream = EnvelopeStream("req_1"), EnvelopeStream("req_1")
    said = b"".join(map(stream.feed, cut(data, places)))

    assert said == whole.feed(data)
    for frame in said.split(b"\n\n")[:-1]:
        first, *lines = frame.split(b"\n")
        assert first.startswith(b"id: ")
        assert isinstance(json.loads(b"".join(line.removeprefix(b"data: ") for line in lines)), dict)
    assert not said or said.endswith(b"\n\n")


MEMBERS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
deltas = st.lists(st.tuples(st.sampled_from(list(MEMBERS)), st.text(max_size=20)), max_size=6)


def written(payload: dict[str, object], separators: tuple[str, str], *, ascii_only: bool) -> bytes:
    data = json.dumps(payload, separators=separators, ensure_ascii=ascii_only)
    return f"event: {payload['type']}\ndata: {data}\n\n".encode()


@quick
@given(deltas, st.booleans())
def test_deltas_mean_the_same_however_they_are_written(
    parts: list[tuple[str, str]], ascii_only: bool
) -> None:
    """As Anthropic writes them, they are not parsed; with another space, they are."""
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "x"}}
    payloads: list[dict[str, object]] = [FULL[0], block]
    for kind, text in parts:
        delta = {"type": kind, MEMBERS[kind]: text}
        payloads.append({"type": "content_block_delta", "index": 0, "delta": delta})
    payloads.append({"type": "message_stop"})

    frames = []
    for separators in ((",", ":"), (", ", ": ")):
        stream = EnvelopeStream("req_1")
        said = b"".join(
            stream.feed(written(payload, separators, ascii_only=ascii_only)) for payload in payloads
        )
        frames.append([frame.split(b"\ndata: ") for frame in said.split(b"\n\n")[:-1]])
    usual, spaced = ([(number, json.loads(data)) for number, data in found] for found in frames)
    assert usual == spaced


@quick
@given(st.binary(max_size=200) | st.text(alphabet="{}\n", max_size=40).map(str.encode), cuts)
def test_lines_do_not_depend_on_the_cuts(data: bytes, places: list[int]) -> None:
    splitter = LineSplitter()
    lines = [line for piece in cut(data, places) for line in splitter.feed(piece)]

    assert [*lines, splitter.rest] == data.split(b"\n")


def test_a_stream_goes_on_after_anything() -> None:
    """What is broken between two events takes nothing from the message."""
    meter = Meter()
    meter.feed(events(SHORT[:2]) + b"\x00\xff\xfe\n\ndata: {broken\n\n: note\n\n" + events(SHORT[2:]))

    assert meter.finished
    assert meter.usage is not None


def test_long_lines_are_joined_once() -> None:
    for splitter in (EventSplitter(), LineSplitter()):
        begun = time.process_time()
        splitter.feed(b"data: ")
        for _ in range(LONG // PIECE):
            assert not splitter.feed(bytes(PIECE).replace(b"\0", b"x"))
        (line,) = splitter.feed(b"\n\n")[:1]
        assert len(line) >= LONG // PIECE * PIECE
        assert time.process_time() - begun < LINEAR_SECONDS
