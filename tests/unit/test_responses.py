"""Streams: comments in silence at event boundaries alone, last words at the end, and the source let go of."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway import responses
from gateway.call import Call
from gateway.errors import BadGateway
from gateway.ready import DONE
from gateway.responses import KEEPALIVE, ChunkResponse, StreamResponse
from gateway.sse import Meter
from tests.support.clock import hurried

SILENCE = 0.1


@pytest.fixture(autouse=True)
def _short_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "KEEPALIVE_SECONDS", SILENCE)


class Sink:
    """What was sent, chunk by chunk."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.ended = False

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            late, self.ended = self.ended, not message.get("more_body")
            self.chunks += [message["body"]] if message["body"] or late else []


class ReadySink(Sink):
    """Takes what is sent at once, as a connection does that has room."""

    def __call__(self, message: Any) -> Any:  # type: ignore[override]
        with contextlib.suppress(StopIteration):
            super().__call__(message).send(None)
        return DONE


class FullSink(Sink):
    """Takes one piece, and then no more; counts who waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0
        self.most = 0

    async def __call__(self, message: Any) -> None:
        if not self.chunks:
            await super().__call__(message)
            return
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting -= 1


class Source:
    """Chunks, with numbers as pauses; tells whether it was let go of."""

    def __init__(self, *steps: bytes | float | Exception) -> None:
        self.steps = steps
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for step in self.steps:
                if isinstance(step, bytes):
                    yield step
                elif isinstance(step, Exception):
                    raise step
                else:
                    await asyncio.sleep(step)
        finally:
            self.closed = True


def response(source: Source, *, events: bool = True, stopped: bool = False) -> StreamResponse:
    call = cast(Call, SimpleNamespace(streamed=False, stopped=stopped))
    meter = Meter()
    if not events:
        return ChunkResponse(call, 200, [], aiter(source))
    passing = (meter.feed(chunk) async for chunk in source)
    return ChunkResponse(
        call, 200, [], passing, at_boundary=meter.at_boundary, failure=lambda error: b"last words"
    )


async def run(answer: StreamResponse, sink: Sink) -> None:
    await answer({}, _nothing, sink)


async def _nothing() -> Any:
    raise AssertionError("nobody reads here")


@pytest.mark.parametrize("kind", [Sink, ReadySink])
@hurried
async def test_comments_fill_silence_between_events(kind: type[Sink]) -> None:
    sink = kind()

    await run(response(Source(b"data: 1\n\n", SILENCE * 3.6, b"data: 2\n\n")), sink)

    assert sink.chunks == [b"data: 1\n\n", KEEPALIVE, KEEPALIVE, KEEPALIVE, b"data: 2\n\n"]
    assert sink.ended


@hurried
async def test_silence_before_the_first_event() -> None:
    sink = Sink()

    await run(response(Source(SILENCE * 1.6, b"data: 1\n\n")), sink)

    assert sink.chunks == [KEEPALIVE, b"data: 1\n\n"]


@hurried
async def test_never_inside_an_event() -> None:
    sink = Sink()

    await run(response(Source(b"data: {", SILENCE * 3, b"}\n", SILENCE * 3, b"\n", SILENCE * 1.6)), sink)

    assert sink.chunks == [b"data: {", b"}\n", b"\n", KEEPALIVE]


@hurried
async def test_never_inside_an_event_that_begins_as_the_silence_is_noticed() -> None:
    sink, meter, noticed = Sink(), Meter(), asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        await noticed.wait()
        yield meter.feed(b"data: {")
        await asyncio.sleep(SILENCE * 0.5)
        yield meter.feed(b"}\n\n")

    def at_boundary() -> bool:
        noticed.set()
        return meter.at_boundary()

    call = cast(Call, SimpleNamespace(streamed=False, stopped=False))
    await run(ChunkResponse(call, 200, [], chunks(), at_boundary=at_boundary), sink)

    assert sink.chunks == [b"data: {", b"}\n\n"]


@hurried
async def test_none_beside_an_event_that_is_being_sent() -> None:
    """One that is on its way when the silence is noticed: two senders would be two writers of one stream."""
    sink, noticed = FullSink(), asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        await noticed.wait()
        yield b"data: 2\n\n"

    def at_boundary() -> bool:
        noticed.set()
        return True

    call = cast(Call, SimpleNamespace(streamed=False, stopped=False))
    task = asyncio.create_task(run(ChunkResponse(call, 200, [], chunks(), at_boundary=at_boundary), sink))
    await asyncio.sleep(SILENCE * 5)

    assert sink.most == 1
    task.cancel()


@hurried
async def test_a_caller_that_takes_nothing_is_not_heaped_with_comments() -> None:
    """One more a silence is harmless; what waits to be sent goes with the stream."""
    sink = FullSink()
    task = asyncio.create_task(run(response(Source(b"data: 1\n\n", 60.0)), sink))
    await asyncio.sleep(SILENCE * 1.5)
    assert sink.waiting == 1
    await asyncio.sleep(SILENCE * 0.4)
    assert sink.waiting == 1

    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert sink.waiting == 0


@hurried
async def test_none_while_events_flow() -> None:
    sink = Sink()
    steps = [step for _ in range(6) for step in (b"data: 1\n\n", SILENCE * 0.5)]

    await run(response(Source(*steps)), sink)

    assert KEEPALIVE not in sink.chunks


@hurried
async def test_none_in_what_are_no_events() -> None:
    sink = Sink()

    await run(response(Source(b"a\n\n", SILENCE * 3, b"b"), events=False), sink)

    assert sink.chunks == [b"a\n\n", b"b"]


@hurried
async def test_none_after_the_end() -> None:
    sink = Sink()

    await run(response(Source(b"data: 1\n\n")), sink)
    await asyncio.sleep(SILENCE * 2)

    assert sink.chunks == [b"data: 1\n\n"]


@hurried
async def test_last_words_when_upstream_breaks_off() -> None:
    sink = Sink()
    source = Source(b"data: 1\n\n", BadGateway("broken"))

    await run(response(source), sink)

    assert sink.chunks == [b"data: 1\n\n", b"last words"]
    assert sink.ended
    assert source.closed


@hurried
async def test_a_broken_download_has_no_proper_end() -> None:
    sink = Sink()

    with pytest.raises(BadGateway):
        await run(response(Source(b"half", BadGateway("broken")), events=False), sink)

    assert not sink.ended


@hurried
async def test_last_words_when_the_gateway_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "KEEPALIVE_SECONDS", 60)
    sink, source = Sink(), Source(b"data: 1\n\n", 10.0)
    task = asyncio.create_task(run(response(source, stopped=True), sink))
    await asyncio.sleep(0.02)

    task.cancel()
    await task

    assert sink.chunks == [b"data: 1\n\n", b"last words"]
    assert sink.ended
    assert source.closed


@hurried
async def test_a_download_has_no_proper_end_when_the_gateway_stops() -> None:
    sink, source = Sink(), Source(b"half", 10.0)
    task = asyncio.create_task(run(response(source, events=False, stopped=True), sink))
    await asyncio.sleep(0.02)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert (sink.chunks, sink.ended, source.closed) == ([b"half"], False, True)


@hurried
async def test_the_source_is_let_go_of_when_its_piece_cannot_be_sent() -> None:
    sink, source = FullSink(), Source(b"one", b"two", b"three")
    answer = response(source, events=False)
    task = asyncio.create_task(run(answer, sink))
    await asyncio.sleep(0.02)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert source.closed


@hurried
async def test_a_piece_that_is_not_sent_after_all_leaves_no_coroutine() -> None:
    outlet = responses._Outlet(Sink(), None)

    waiting = outlet.send(b"unsent")

    assert isinstance(waiting, responses._Sending)
    waiting.close()
    assert outlet.busy
    outlet.stop()


@hurried
async def test_a_piece_that_is_waited_for_is_sent() -> None:
    sink = Sink()
    outlet = responses._Outlet(sink, None)

    waiting = outlet.send(b"late")

    assert waiting is not None
    assert outlet.busy
    await waiting
    assert sink.chunks == [b"late"]
    assert not outlet.busy


@hurried
async def test_no_words_for_a_caller_that_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "KEEPALIVE_SECONDS", 60)
    sink, source = Sink(), Source(b"data: 1\n\n", 10.0)
    task = asyncio.create_task(run(response(source), sink))
    await asyncio.sleep(0.02)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert sink.chunks == [b"data: 1\n\n"]
    assert source.closed
