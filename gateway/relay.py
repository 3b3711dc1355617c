"""Pass a call on to Anthropic and its answer back, in either dialect (docs/adr/0003).

The native dialect is byte-exact both ways. The envelope splices its own members around upstream's bytes.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from anthropic import APIConnectionError

from gateway import ownership, sse
from gateway.call import Call
from gateway.errors import BadGateway, GatewayError, Headers, UpstreamError, UpstreamLost, error_type
from gateway.headers import (
    PASSED_BACK_WITH_ERRORS,
    envelope_headers,
    header,
    native_headers,
    response_headers,
)
from gateway.http1 import Handle
from gateway.json_body import parse_answer
from gateway.lines import LineSplitter
from gateway.metrics.stream_pace import StreamPace
from gateway.pool import Answer, SentHeaders
from gateway.resources import brought_forth_by_result
from gateway.responses import STREAM_HEADERS, ChunkResponse, Response, StreamResponse, envelope
from gateway.uploads import Upload
from gateway.upstream import Exchange, Upstream, connection_failure, read_whole

EVENT_STREAM = b"text/event-stream"

Body = bytes | Upload | None


async def send_native(call: Call, body: Body = None, *, streamed: bool = False, hold: bool = False) -> Answer:
    """Send a native call as it came."""
    upstream = call.services.upstream(call)
    headers = _sent_headers(call, upstream, native_headers)
    assert call.operation is not None
    method = "GET" if call.operation.method == "GET" else call.method  # HEAD is GET without the body
    exchange = Exchange(method, call.target, headers, streamed=streamed, hold=hold)
    return await _send(call, upstream, exchange, body)


async def send_envelope(
    call: Call, method: str, target: str, body: Body = None, *, streamed: bool = False, hold: bool = False
) -> Answer:
    """Send an envelope call to the native operation that it stands for; it is tried again but for uploads."""
    upstream = call.services.upstream(call)
    headers = _sent_headers(call, upstream, envelope_headers)
    retries = 0 if isinstance(body, Upload) else call.services.settings.anthropic_max_retries
    return await _send(
        call, upstream, Exchange(method, target, headers, retries=retries, streamed=streamed, hold=hold), body
    )


def _sent_headers(
    call: Call, upstream: Upstream, choose: Callable[[Call, dict[str, str]], dict[str, str]]
) -> Mapping[str, str]:
    """What goes upstream for a call's headers; for those of an earlier call the same again."""
    if b"anthropic-workspace-id" in call.head.values:  # which depends on the key
        return choose(call, upstream.default_headers)
    sent = call.head.sent
    if sent is None:
        sent = call.head.sent = SentHeaders(choose(call, upstream.default_headers))
    return sent


async def _send(call: Call, upstream: Upstream, exchange: Exchange, body: Body) -> Answer:
    if isinstance(body, Upload):
        exchange.headers = {**exchange.headers, **_announced_length(call)}
        exchange.body = aiter(body)
    else:
        exchange.body = body
    exchange.trace = call.trace
    if call.operation is not None and call.operation.metered:
        await call.services.accounting.begin(call)
    call.asked_at = time.perf_counter()
    try:
        if call.operation is None or call.operation.subject.kind is None:
            return _noted(call, await upstream.send(exchange))

        async def send(request: Exchange) -> Answer:
            return _noted(call, await upstream.send(request))

        return await ownership.exchange(call, exchange, send)
    except GatewayError as error:
        call.lost = isinstance(error, UpstreamLost)
        if isinstance(body, Upload) and body.error is not None:
            raise body.error from None
        raise


def _announced_length(call: Call) -> dict[str, str]:
    """The length of a body that is passed on as it comes; without one it travels chunked."""
    length = call.content_length
    return {} if length is None else {"content-length": length.decode("latin-1")}


def _noted(call: Call, answer: Answer) -> Answer:
    call.answered_at = time.perf_counter()
    call.answer = answer
    call.upstream_status = answer.status
    call.upstream_request_id = header(answer.headers, b"request-id").decode("latin-1") or None
    return answer


Transform = Callable[[Call, bytes, Any], bytes]
"""Changes the bytes of an answer, given the call and the parsed answer."""


async def native_whole(call: Call, answer: Answer, transform: Transform | None = None) -> Response:
    """A native answer with a JSON body: read it, note its usage, hand on its bytes."""
    body = await read_whole(answer)
    call.ended_at = time.perf_counter()
    parsed = parse_answer(body)
    note_usage(call, parsed)
    if transform is not None:
        body = transform(call, body, parsed)
    return Response(answer.status, response_headers(answer), body, parsed)


def native_stream(call: Call, answer: Answer) -> StreamResponse:
    """A native event stream, byte for byte; its usage is read while it passes by."""
    meter = sse.Meter(threaded=ownership.is_threaded(call))

    def failure(error: BaseException) -> bytes:
        call.stream_error = _stream_error(error)
        event = sse.error_event(call.stream_error, _failure_message(error), call.request_id)
        # A blank line would hand the broken event to the caller; so it becomes part of the error's.
        return event if meter.at_boundary() else b"\n" + event

    headers = [*response_headers(answer), *STREAM_HEADERS]
    return _MessageStream(call, headers, answer, meter, failure)


def envelope_stream(call: Call, answer: Answer) -> StreamResponse:
    """A native event stream said again in the envelope's way."""
    stream = sse.EnvelopeStream(call.request_id, threaded=ownership.is_threaded(call))

    def failure(error: BaseException) -> bytes:
        call.stream_error = _stream_error(error)
        return stream.error_frame(call.stream_error, _failure_message(error))

    def end() -> bytes:
        if stream.finished:
            return b""
        call.services.metrics.stream_aborted("upstream", _phase(call))
        return failure(BadGateway("upstream ended the stream before its last event"))

    headers = [(b"content-type", EVENT_STREAM), *STREAM_HEADERS]
    return _MessageStream(call, headers, answer, stream, failure, end)


def raw_stream(call: Call, answer: Answer) -> ChunkResponse:
    """Any other native answer, handed on as it comes: downloads, lines, and streams without usage."""
    headers = response_headers(answer)
    length = header(answer.headers, b"content-length")
    if length:
        headers.append((b"content-length", length))
    if not header(answer.headers, b"content-type").startswith(EVENT_STREAM):
        return ChunkResponse(call, answer.status, headers, pieces(call, answer))
    meter = sse.Meter()
    passing = (meter.feed(chunk) async for chunk in chunks(answer))
    return ChunkResponse(
        call, answer.status, [*headers, *STREAM_HEADERS], passing, at_boundary=meter.at_boundary
    )


async def envelope_whole(call: Call, answer: Answer, transform: Transform | None = None) -> Response:
    """An answer with a JSON body, wrapped into the envelope.

    Args:
        call: the request.
        answer: upstream's answer.
        transform: changes the body's bytes before they are wrapped.

    Raises:
        UpstreamError, BadGateway: as `whole_json`.
    """
    body, parsed = await whole_json(call, answer)
    return envelope(call, transform(call, body, parsed) if transform else body, parsed)


async def whole_json(call: Call, answer: Answer) -> tuple[bytes, Any]:
    """The JSON body of an answer, its bytes and what they say; its usage is noted.

    Raises:
        UpstreamError: upstream answered with an error.
        BadGateway: it answered with something that is no JSON.
    """
    body = await read_whole(answer)
    call.ended_at = time.perf_counter()
    parsed = parse_answer(body)
    if answer.status >= 400:
        raise upstream_error(answer, parsed)
    if parsed is None:
        raise BadGateway("upstream answered with something that is not JSON")
    note_usage(call, parsed)
    return body, parsed


async def refuse_errors(answer: Answer) -> None:
    """Raise upstream's error, where it answered with one, before anything is streamed to the caller."""
    if answer.status >= 400:
        raise upstream_error(answer, parse_answer(await read_whole(answer)))


async def envelope_download(call: Call, target: str) -> StreamResponse:
    """A binary answer of the native operation at `target`, handed on as it comes.

    Raises:
        UpstreamError: upstream answered with an error.
    """
    answer = await send_envelope(call, "GET", target, streamed=True)
    await refuse_errors(answer)
    kept = [pair for pair in answer.headers if pair[0] in (b"content-disposition", b"content-length")]
    # Whatever was uploaded, a browser must not run it as a page of ours.
    headers = [(b"content-type", b"application/octet-stream"), *kept]
    return ChunkResponse(call, 200, headers, chunks(answer))


def upstream_error(answer: Answer, parsed: Any) -> UpstreamError:
    """Anthropic's error as the envelope tells it."""
    message = f"upstream answered with status {answer.status}"
    if isinstance(parsed, dict) and isinstance(parsed.get("error"), dict):
        told = str(parsed["error"].get("message") or message)
        message = told.encode(errors="replace").decode()  # half a surrogate pair cannot be said again
    headers = [pair for pair in answer.headers if pair[0] in PASSED_BACK_WITH_ERRORS]
    return UpstreamError(answer.status, message, headers=headers)


def note_usage(call: Call, parsed: Any) -> None:
    """Write down what a message says about the tokens it cost, which model made it, and what it made."""
    if call.entry is not None and isinstance(parsed, dict):
        ownership.note_message(call, parsed)
        usage = parsed.get("usage")
        if isinstance(usage, dict):
            call.complete = True
            call.reported_usage = usage
            call.stop_reason = _text(parsed.get("stop_reason"))
            call.model = _text(parsed.get("model")) or call.model


def is_event_stream(answer: Answer) -> bool:
    """Whether an answer is a stream of events."""
    return answer.status == 200 and header(answer.headers, b"content-type").startswith(EVENT_STREAM)


async def chunks(answer: Answer) -> AsyncIterator[bytes]:
    """The body as it comes; upstream is let go of in every case."""
    try:
        while chunk := await answer.chunk():
            yield chunk
    except APIConnectionError as error:
        raise connection_failure(error) from error
    finally:
        answer.close()


def pieces(call: Call, answer: Answer) -> AsyncIterator[bytes]:
    """The same; a batch's results are looked through for what the batch brought forth."""
    results = call.operation is not None and call.operation.stream == "jsonl"
    return _watched(call, answer) if results else chunks(answer)


async def _watched(call: Call, answer: Answer) -> AsyncIterator[bytes]:
    splitter = LineSplitter()
    try:
        async for chunk in chunks(answer):
            for line in splitter.feed(chunk):
                ownership.note(call, brought_forth_by_result(line))
            yield chunk
        ownership.note(call, brought_forth_by_result(splitter.rest))
    finally:
        answer.close()


class _MessageStream(StreamResponse):
    """A message stream, metered as it passes by; its usage is settled however it ends.

    Args:
        call: the request it answers.
        headers: response headers.
        answer: upstream's.
        meter: says what is sent of it, and learns what it costs.
        failure: its last event when it breaks off.
        end: what is sent when upstream has ended it.
    """

    __slots__ = ("answer", "end", "meter")

    def __init__(
        self,
        call: Call,
        headers: Headers,
        answer: Answer,
        meter: sse.StreamMeter,
        failure: Callable[[BaseException], bytes],
        end: Callable[[], bytes] = bytes,
    ) -> None:
        super().__init__(call, 200, headers, at_boundary=meter.at_boundary, failure=failure)
        self.answer = answer
        self.meter = meter
        self.end = end

    async def pass_on(self, handle: Handle) -> None:
        call, meter = self.call, self.meter
        call.drop_body()
        call.pace = StreamPace()
        tick = call.pace.tick

        def metered(chunk: bytes) -> Awaitable[None] | None:
            tick()
            data = meter.feed(chunk)
            if meter.found:
                ownership.note(call, meter.found)
                meter.found = set()
            return handle(data) if data else None

        try:
            await self.answer.pass_on(metered)
            if (last := self.end()) and (waiting := handle(last)):
                await waiting
        except APIConnectionError as error:
            if not meter.finished:  # what breaks after the last event takes nothing from the message
                raise connection_failure(error) from error
        finally:
            call.ended_at = time.perf_counter()
            self.answer.close()
            _settle(call, meter)


def _settle(call: Call, meter: sse.StreamMeter) -> None:
    call.reported_usage = meter.usage
    call.stop_reason = _text(meter.stop_reason)
    call.model = _text(meter.model) or call.model
    call.delta_bytes = meter.delta_bytes
    call.stream_error = call.stream_error or meter.error_type
    call.complete = meter.finished and call.stream_error is None
    if not meter.finished:
        side = "client" if call.disconnected else "shutdown" if call.stopped else "upstream"
        call.services.metrics.stream_aborted(side, _phase(call))


def _phase(call: Call) -> str:
    return "before_first_byte" if call.first_byte is None else "mid"


def _text(value: Any) -> str | None:
    """A text, or nothing: an odd answer must not break the booking."""
    return value if isinstance(value, str) else None


def _stream_error(error: BaseException) -> str:
    return error_type(error.status if isinstance(error, GatewayError) else 503)


def _failure_message(error: BaseException) -> str:
    if isinstance(error, GatewayError):
        return error.message
    return "the gateway is stopping"
