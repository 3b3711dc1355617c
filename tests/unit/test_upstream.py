"""The hold of a stream's first event, attempts and their limits, on a real upstream by script."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from gateway import upstream as module
from gateway.errors import BadGateway, GatewayTimeout, UpstreamLost
from gateway.metrics import Metrics
from gateway.pool import Answer
from gateway.settings import Settings
from gateway.upstream import Exchange, Upstream
from tests.support.recorder import CLOSE, RESET, Gate, Recorder, Step, answer, head, stream
from tests.support.transcripts import OVERLOADED, PING, SHORT, event, events

HOLD = 0.2
SILENCE = 3.0


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with Recorder() as made:
        yield made


@pytest.fixture
async def client(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Upstream]:
    monkeypatch.setattr(module, "HOLD_SECONDS", HOLD)
    settings = Settings(anthropic_api_key="sk", anthropic_timeout=SILENCE)  # type: ignore[arg-type]
    made = Upstream(settings, recorder.url, "sk", Metrics())
    yield made
    await made.close()


def exchange(**options: Any) -> Exchange:
    return Exchange("POST", "/v1/messages", {"accept": "*/*"}, b"{}", **options)


async def read(got: Answer) -> bytes:
    body = b""
    while part := await got.chunk():
        body += part
    got.close()
    return body


async def test_a_slow_first_event_lets_the_stream_begin(client: Upstream, recorder: Recorder) -> None:
    """Held for a while only: what comes after passes on as it comes, an error too."""
    late, gate = event(OVERLOADED), Gate()
    recorder.script(stream(event(PING), gate, late))

    got = await client.send(exchange(streamed=True, hold=True))
    gate.open()

    assert got.status == 200
    assert await read(got) == event(PING) + late


async def test_nothing_is_lost_when_the_hold_ends_inside_an_event(
    client: Upstream, recorder: Recorder
) -> None:
    body = events(SHORT)
    recorder.script(stream(body[:30], HOLD * 2, body[30:]))

    got = await client.send(exchange(streamed=True, hold=True))

    assert await read(got) == body


async def test_what_is_held_is_handed_on_whole(client: Upstream, recorder: Recorder) -> None:
    recorder.script(stream(events(SHORT)), stream(events(SHORT)))

    assert await read(await client.send(exchange(streamed=True, hold=True))) == events(SHORT)
    got = await client.send(exchange(streamed=True, hold=True))
    assert await got.read() == events(SHORT)


async def test_a_stream_that_ends_while_held(client: Upstream, recorder: Recorder) -> None:
    recorder.script(stream(event(PING)))

    assert await read(await client.send(exchange(streamed=True, hold=True))) == event(PING)


async def test_a_stream_that_breaks_while_held(client: Upstream, recorder: Recorder) -> None:
    recorder.script([*stream(event(PING))[:-1], CLOSE])

    with pytest.raises(BadGateway):
        await client.send(exchange(streamed=True, hold=True))


async def test_a_caller_that_leaves_while_a_stream_is_held(
    client: Upstream, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HOLD_SECONDS", 60.0)
    monkeypatch.setattr(client, "_timeout", 60.0)
    gate = Gate()
    recorder.script(stream(event(PING), gate))
    task = asyncio.create_task(client.send(exchange(streamed=True, hold=True)))
    request = await asyncio.to_thread(recorder.wait_for, 1)
    await asyncio.sleep(0.1)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await asyncio.to_thread(request.wait_until_left)
    gate.open()


@pytest.mark.parametrize(
    ("steps", "options"),
    [
        *[([head(status, [("content-length", "9")]), Gate()], {}) for status in (300, 302, 399, 401, 600)],
        ([head(529, [("content-length", "9"), ("retry-after-ms", "1")]), Gate()], {"retries": 1}),
        (stream(event(OVERLOADED), Gate()), {"streamed": True, "hold": True}),
    ],
    ids=["300", "302", "399", "401", "600", "529, tried again", "an error as first event"],
)
async def test_an_answer_that_is_not_handed_on_is_let_go_of(
    client: Upstream,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[Step],
    options: dict[str, Any],
) -> None:
    """At once, although its body would still come."""
    monkeypatch.setattr(client, "_timeout", 60.0)
    recorder.script(steps)

    if options:
        await client.send(exchange(**options))
    else:
        with pytest.raises(BadGateway):
            await client.send(exchange())

    await asyncio.to_thread(recorder.requests[0].wait_until_left)


@pytest.mark.parametrize("options", [{}, {"streamed": True}])
async def test_no_hold_where_none_is_asked_for(
    client: Upstream, recorder: Recorder, options: dict[str, bool]
) -> None:
    recorder.script(stream(event(OVERLOADED)))

    assert (await client.send(exchange(**options))).status == 200


@pytest.mark.parametrize("retries", [0, 1, 2])
async def test_number_of_attempts(client: Upstream, recorder: Recorder, retries: int) -> None:
    recorder.reply = lambda _: answer(500, b"last", headers=[("retry-after-ms", "1")])

    got = await client.send(exchange(retries=retries))

    assert (got.status, await got.read()) == (500, b"last")
    assert len(recorder.requests) == retries + 1
    assert len({request.head for request in recorder.requests}) == 1


async def test_silence_is_a_timeout(client: Upstream, recorder: Recorder) -> None:
    gate = Gate()
    recorder.script([gate])

    with pytest.raises(GatewayTimeout):
        await client.send(exchange())

    gate.open()


@pytest.mark.parametrize(
    ("steps", "reason"),
    [([Gate()], "timeout"), ([CLOSE], "connection"), (answer(500), "500")],
    ids=["silence", "closed", "500"],
)
async def test_why_it_is_tried_again_is_counted(
    client: Upstream, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, steps: list[Step], reason: str
) -> None:
    """Once for each further try: the last failure is none."""
    monkeypatch.setattr(client, "_timeout", 0.3)
    counted: list[str] = []
    monkeypatch.setattr(client._metrics, "retried", counted.append)
    recorder.reply = lambda _: steps
    with contextlib.suppress(BadGateway, GatewayTimeout):
        await client.send(exchange(retries=1))

    assert counted == [reason]


async def test_calls_at_the_same_time_do_not_mix(client: Upstream, recorder: Recorder) -> None:
    recorder.reply = lambda request: [0.02, *answer(body=request.body)]

    async def one(number: int) -> bytes:
        call = Exchange("POST", f"/{number}", {}, str(number).encode(), retries=number % 2)
        return await (await client.send(call)).read()

    assert await asyncio.gather(*map(one, range(40))) == [str(number).encode() for number in range(40)]
    assert {request.target[1:].encode() == request.body for request in recorder.requests} == {True}


@pytest.mark.parametrize("proxied", [False, True], ids=["direct", "through a proxy"])
@pytest.mark.parametrize(
    ("lost_after", "steps", "failure"),
    [
        (60.0, [CLOSE], BadGateway),
        (60.0, [RESET], BadGateway),
        (0.1, [0.2, CLOSE], UpstreamLost),
        (0.1, [0.2, RESET], UpstreamLost),
        (0.1, [0.2, b"nonsense\r\n\r\n"], BadGateway),
    ],
    ids=["closed at once", "reset at once", "closed later", "reset later", "nonsense later"],
)
async def test_a_request_that_upstream_has_had_for_a_while_is_lost_with_its_connection(
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    lost_after: float,
    steps: list[Step],
    failure: type[BadGateway],
    proxied: bool,
) -> None:
    monkeypatch.setattr(module, "LOST_AFTER", lost_after)
    url = recorder.url
    if proxied:
        monkeypatch.setenv("http_proxy", url)
        url = "http://upstream.test"
    recorder.script(steps)
    settings = Settings(anthropic_api_key="sk", anthropic_timeout=10.0)  # type: ignore[arg-type]
    client = Upstream(settings, url, "sk", Metrics())

    with pytest.raises(BadGateway) as raised:
        await client.send(exchange())

    assert type(raised.value) is failure
    await client.close()
    await asyncio.sleep(0.01)  # aiohttp closes its sockets a little later


async def test_a_server_that_is_not_there_has_lost_nothing(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOST_AFTER", 0.0)
    settings = Settings(anthropic_api_key="sk", anthropic_timeout=10.0)  # type: ignore[arg-type]
    with recorder.refusing():
        for proxy in ("", recorder.url):
            monkeypatch.setenv("http_proxy", proxy)
            client = Upstream(settings, "http://upstream.test" if proxy else recorder.url, "sk", Metrics())
            with pytest.raises(BadGateway) as raised:
                await client.send(exchange())
            assert type(raised.value) is BadGateway
            await client.close()
            await asyncio.sleep(0.01)
