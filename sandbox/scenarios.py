"""Faults on demand, each by name.

A message asks for one by its model, `sandbox-<name>`; any call by the header `x-sandbox-scenario: <name>`.
A name may end in a duration, as in `sandbox-slow-250ms`, where the scenario has one.

There are two kinds. A *refusal* takes the answer's place. An *act* is given the answer and spoils its
sending, so that one function does for a JSON answer and a stream alike.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from sandbox.errors import ApiError, Headers, not_found
from sandbox.http import Cut, Request, Response, dump
from sandbox.settings import Settings

HEADER = b"x-sandbox-scenario"

MODEL_PREFIX = "sandbox-"

_DURATION = re.compile(r"-(\d{1,7})ms$")
_RETRY_AFTER: Headers = [(b"retry-after", b"1")]

REFUSALS: dict[str, Callable[[], ApiError]] = {
    "400": lambda: ApiError(400, "sandbox scenario: the request is refused"),
    "401": lambda: ApiError(401, "invalid x-api-key"),
    "402": lambda: ApiError(402, "sandbox scenario: the organization's credit balance is used up"),
    "403": lambda: ApiError(403, "sandbox scenario: the API key lacks the permission"),
    "404": lambda: ApiError(404, "sandbox scenario: not found"),
    "409": lambda: ApiError(409, "sandbox scenario: changed by another request meanwhile"),
    "413": lambda: ApiError(413, "Request exceeds the maximum size"),
    "429": lambda: ApiError(429, "sandbox scenario: rate limited", headers=_RETRY_AFTER),
    "429-no-retry-after": lambda: ApiError(
        429, "sandbox scenario: monthly spend limit reached", error_code="enforced_spend_limit_reached"
    ),
    "500": lambda: ApiError(500, "Internal server error"),
    "503": lambda: ApiError(503, "sandbox scenario: unavailable", headers=_RETRY_AFTER),
    "504": lambda: ApiError(504, "sandbox scenario: timed out"),
    "529": lambda: ApiError(529, "Overloaded"),
    "529-do-not-retry": lambda: ApiError(529, "Overloaded", headers=[(b"x-should-retry", b"false")]),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """What an act plays with."""

    request: Request
    response: Response
    settings: Settings
    seconds: float | None
    """The duration in the scenario's name."""

    @property
    def parts(self) -> list[bytes]:
        """The body's parts. A file's or a result's unread stream counts as none."""
        body = self.response.body
        if isinstance(body, bytes):
            return [body]
        return body if isinstance(body, list) else []

    def sending(self, body: bytes | list[bytes] | AsyncIterator[bytes]) -> Response:
        """The answer with its head as it was and another body."""
        return Response(body, self.response.status, self.response.content_type, self.response.headers)


Act = Callable[[Stage], Awaitable[Response]]


async def slow(stage: Stage) -> Response:
    """Nothing at all for a while, then the whole answer."""
    await stage.request.pause(stage.settings.slow_seconds if stage.seconds is None else stage.seconds)
    return stage.response


async def slow_stream(stage: Stage) -> Response:
    """A pause before each event."""
    pace = stage.settings.pace_seconds if stage.seconds is None else stage.seconds

    async def body() -> AsyncIterator[bytes]:
        for part in stage.parts:
            await stage.request.pause(pace)
            yield part

    return stage.sending(body())


async def silent(stage: Stage) -> Response:
    """The first event, a long silence without pings, then the rest."""
    silence = stage.settings.silence_seconds if stage.seconds is None else stage.seconds

    async def body() -> AsyncIterator[bytes]:
        first, *rest = stage.parts
        yield first
        await stage.request.pause(silence)
        for part in rest:
            yield part

    return stage.sending(body())


async def cut_stream(stage: Stage) -> Response:
    """Half of the answer, then the connection is closed."""

    async def body() -> AsyncIterator[bytes]:
        for part in _first_half(stage.parts):
            yield part
        await asyncio.sleep(0)  # lets the half leave before the connection goes
        raise Cut

    return stage.sending(body())


async def drop(_stage: Stage) -> Response:
    """The connection is closed before the first byte."""
    raise Cut


async def overloaded_first_event(stage: Stage) -> Response:
    """Status 200, and a stream whose first event is an error."""
    return Response([_error_event(stage)], content_type=b"text/event-stream; charset=utf-8")


async def overloaded_after_ping(stage: Stage) -> Response:
    """Status 200, and a stream of a ping and an error."""
    ping = b'event: ping\ndata: {"type":"ping"}\n\n'
    return Response([ping, _error_event(stage)], content_type=b"text/event-stream; charset=utf-8")


async def overloaded_mid_stream(stage: Stage) -> Response:
    """Half of the stream, then an error event, and a regular end."""
    return stage.sending([*_first_half(stage.parts), _error_event(stage)])


async def unknown_event(stage: Stage) -> Response:
    """A stream with an event, and a field of an event, that no SDK knows yet."""
    first, *rest = stage.parts
    novelty = b'event: sandbox_novelty\ndata: {"type":"sandbox_novelty","unheard_of":{"nested":[1]}}\n\n'
    return stage.sending([first, novelty, *rest])


async def bad_json(stage: Stage) -> Response:
    """Status 200 and `application/json`, and a body that breaks off."""
    whole = b"".join(stage.parts)
    return Response(whole[: len(whole) // 2], headers=stage.response.headers)


async def wrong_type(stage: Stage) -> Response:
    """Status 200 and an HTML page, as a captive portal sends it."""
    return Response(
        b"<!doctype html><title>Welcome</title>", content_type=b"text/html", headers=stage.response.headers
    )


ACTS: dict[str, Act] = {
    "slow": slow,
    "slow-stream": slow_stream,
    "silent": silent,
    "cut-stream": cut_stream,
    "drop": drop,
    "529-first-event": overloaded_first_event,
    "529-after-ping": overloaded_after_ping,
    "529-mid-stream": overloaded_mid_stream,
    "unknown-event": unknown_event,
    "bad-json": bad_json,
    "wrong-type": wrong_type,
}

ENDINGS = ("refusal", "refusal-mid-stream", "pause-turn", "context-exceeded")
"""Not faults of sending but of the message: see `sandbox.answers`."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario as a call asked for it."""

    settings: Settings
    act: Act | None = None
    seconds: float | None = None
    ending: str | None = None

    async def play(self, request: Request, response: Response) -> Response:
        """The answer as the scenario spoils it."""
        if self.act is None:
            return response
        return await self.act(Stage(request, response, self.settings, self.seconds))


class Scenarios:
    """Finds scenarios by name. `flaky` refuses every first call with 529 and answers every second."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._plain = Scenario(settings)
        self._flaky_calls = 0

    def find(self, name: str) -> Scenario:
        """The scenario of that name, for one call.

        Raises `ApiError`: the refusal that the scenario is, or 404 when there is no such scenario.
        """
        seconds = None
        if match := _DURATION.search(name):
            name, seconds = name[: match.start()], int(match[1]) / 1000
        if name in REFUSALS:
            raise REFUSALS[name]()
        if name == "flaky":
            self._flaky_calls += 1
            if self._flaky_calls % 2:
                raise REFUSALS["529"]()
            return self._plain
        if name in ACTS:
            return Scenario(self._settings, ACTS[name], seconds)
        if name in ENDINGS:
            return Scenario(self._settings, ending=name)
        raise not_found(f"model: {MODEL_PREFIX}{name}")

    def of_model(self, model_id: str) -> Scenario:
        """The scenario that a model's id names; a real model's is to do nothing. Errors as `find`."""
        if model_id.startswith(MODEL_PREFIX):
            return self.find(model_id.removeprefix(MODEL_PREFIX))
        return self._plain


def duration_of(model_id: object) -> float:
    """The duration in the name of a scenario's model, in seconds; 0 when there is none."""
    if not isinstance(model_id, str) or not model_id.startswith(MODEL_PREFIX):
        return 0.0
    match = _DURATION.search(model_id)
    return int(match[1]) / 1000 if match else 0.0


def _first_half(parts: list[bytes]) -> list[bytes]:
    if len(parts) == 1:
        return [parts[0][: len(parts[0]) // 2]]
    return parts[: len(parts) // 2]


def _error_event(stage: Stage) -> bytes:
    return b"event: error\ndata: " + dump(REFUSALS["529"]().body(stage.request.id)) + b"\n\n"
