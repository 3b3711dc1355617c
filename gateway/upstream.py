"""Calls to Anthropic: the SDK's own client with a lean pool under it.

The SDK builds the default headers, decides about retries and names the errors. Its `middleware=` hook runs
once an attempt, and there the request is sent from `gateway.pool`: the caller's bytes go out as they came,
and upstream's bytes come back as they are (docs/adr/0003). A request that is not tried again, as its caller's
own SDK will see to that, goes to the pool at once.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
from anthropic import APIConnectionError, APITimeoutError
from anthropic._middleware import AsyncCallNext  # the type of a public argument
from anthropic._models import FinalRequestOptions  # what `post()` makes of its arguments, for each call anew
from anthropic._request import APIRequest

from gateway import sse
from gateway.errors import ERROR_STATUSES, BadGateway, GatewayTimeout, Headers, UpstreamLost
from gateway.headers import header, may_come_again
from gateway.http1 import ConnectionDied, Handle
from gateway.metrics import Metrics
from gateway.pool import Answer, Pool, proxy_for
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.pool_proxied import ProxiedPool
    from gateway.tracing.spans import CallTrace

HOLD_SECONDS = 10.0
"""How long a message stream's first event may hold back the answer's status."""

LOST_AFTER = 1.0
"""Seconds after which a connection that breaks was in use: a closed one tells so within a round trip."""

RETRIED = frozenset({408, 409, 429})
"""Statuses below 500 that the SDK tries again."""


@dataclass(slots=True)
class Exchange:
    """One request to upstream, through all its attempts.

    `target` is the raw path and query. With `streamed`, ANTHROPIC_TIMEOUT bounds the silence instead of the
    whole call; with `hold`, the status waits for the stream's first event, so that an error there becomes a
    real status. `trace` makes a span of each attempt.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | AsyncIterator[bytes] | None = None
    retries: int = 0
    streamed: bool = False
    hold: bool = False
    trace: "CallTrace | None" = None


class _Options(FinalRequestOptions):  # type: ignore[misc] # final, for those who would change what it does
    """Options that every call shares: the SDK takes two copies for each, to change what is the same here."""

    def model_copy(self, **_: Any) -> "_Options":
        return self


_exchange: ContextVar[Exchange] = ContextVar("exchange")


class _Unused(httpx2.AsyncBaseTransport):
    """In the place of the SDK's own connections, which would read all certificates of the system."""


def _open_pool(base_url: str) -> "Pool | ProxiedPool":
    proxy = proxy_for(base_url)
    if proxy is None:
        return Pool(base_url)
    from gateway.pool_proxied import ProxiedPool  # noqa: PLC0415 - aiohttp, which only this way needs

    return ProxiedPool(base_url, proxy)


class Upstream:
    """The way to Anthropic with one credential. Make it inside the running loop.

    Args:
        settings: time-outs and retries.
        base_url: where upstream is.
        api_key: the credential; it never travels to a caller.
        metrics: counts retries.
    """

    def __init__(self, settings: Settings, base_url: str, api_key: str, metrics: Metrics) -> None:
        self._timeout = settings.anthropic_timeout
        self._pool = _open_pool(base_url)
        self._metrics = metrics
        self._client = anthropic.AsyncAnthropic(
            api_key=api_key,
            base_url=base_url,
            timeout=self._timeout,
            max_retries=0,
            open_telemetry=False,
            middleware=[_Attempts(self)],
            http_client=httpx2.AsyncClient(transport=_Unused(), trust_env=False),
        )
        self._options_by_retries: dict[int, FinalRequestOptions] = {}
        self.default_headers: dict[str, str] = {
            name.lower(): value
            for name, value in self._client.default_headers.items()
            if isinstance(value, str)
        }
        self.default_headers["accept-encoding"] = "identity"

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()
        await self._pool.close()

    async def send(self, exchange: Exchange) -> Answer:
        """Send a request; answers of any status come back, but for those that are the operator's concern.

        Raises:
            BadGateway: upstream cannot be reached, breaks the protocol, redirects, or refuses our credential.
            UpstreamLost: the connection broke LOST_AFTER or longer after the request was sent.
            GatewayTimeout: no answer within ANTHROPIC_TIMEOUT.
        """
        try:
            answer = await (self._send_again(exchange) if exchange.retries else self.attempt(exchange, 0))
        except APIConnectionError as error:
            raise connection_failure(error) from error
        if answer.status == 401:
            answer.close()
            self._metrics.upstream_credential_refused()
            raise BadGateway(
                "Anthropic refused the gateway's own credential; the operator must check it",
                headers=[(b"x-should-retry", b"false")],
            )
        if 300 <= answer.status < 400:
            answer.close()
            raise BadGateway(
                f"upstream answered with a redirect (status {answer.status}), which is never followed"
            )
        if answer.status >= 600:
            answer.close()
            raise BadGateway(f"upstream answered with status {answer.status}, which HTTP does not know")
        return answer

    async def _send_again(self, exchange: Exchange) -> Answer:
        """Send a request as often as the SDK's rules say."""
        token = _exchange.set(exchange)
        try:
            result: Any = await self._client.request(httpx2.Response, self._options(exchange.retries))
            answer: Answer = result  # what `_Attempts` gave: the SDK hands it on as it is
        finally:
            _exchange.reset(token)
            # Timers and connections that were made meanwhile keep their context, and the exchange with it.
            exchange.body = exchange.trace = None
        return answer

    def _options(self, retries: int) -> FinalRequestOptions:
        """The SDK's options of a call: one object a number of retries is enough.

        The method is not the exchange's: for all but GET the SDK would prepare a body, and make up a key for
        retries, that nobody reads.
        """
        options = self._options_by_retries.get(retries)
        if options is None:
            options = _Options.construct(method="get", url="/", max_retries=retries)
            self._options_by_retries[retries] = options
        return options

    def attempt(self, exchange: Exchange, retries_taken: int) -> Awaitable[Answer]:
        """One attempt; what may be tried again is raised as the SDK's own error while tries are left."""
        if exchange.trace is not None:
            return exchange.trace.attempt(exchange, retries_taken, self._attempt)
        return self._attempt(exchange, retries_taken)

    async def _attempt(self, exchange: Exchange, retries_taken: int) -> Answer:
        try:
            answer: Answer = await self._pool.send(
                exchange.method,
                exchange.target,
                exchange.headers,
                exchange.body,
                total=None if exchange.streamed else self._timeout,
                silence=self._timeout,
            )
        except APIConnectionError as error:
            if retries_taken < exchange.retries:
                self._metrics.retried("timeout" if isinstance(error, APITimeoutError) else "connection")
            raise
        if (
            exchange.hold
            and answer.status == 200
            and header(answer.headers, b"content-type").startswith(b"text/event-")
        ):
            try:
                answer = await _hold_first_event(answer)
            except BaseException:  # above all a caller that leaves meanwhile
                answer.close()
                raise
        if retries_taken < exchange.retries and _may_retry(answer):
            self._metrics.retried(str(answer.status))
            answer.close()
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
            request = httpx2.Request(exchange.method, str(self._client.base_url))
            response = httpx2.Response(answer.status, headers=headers, request=request)
            raise StatusToRetry(response)
        return answer


class StatusToRetry(anthropic.APIStatusError):
    """Asks the SDK to try again by its rules, without the 800 modules that its own error imports.

    Args:
        response: the answer's status and headers.
    """

    def __init__(self, response: httpx2.Response) -> None:
        anthropic.APIError.__init__(self, f"status {response.status_code}", response.request, body=None)
        self.response = response
        self.status_code = response.status_code


class _Attempts(anthropic.Middleware):
    """Answers the SDK's attempts from the pool."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def handle_async(self, request: APIRequest, call_next: AsyncCallNext) -> Any:
        return await self._upstream.attempt(_exchange.get(), request.retries_taken)


async def read_whole(answer: Answer) -> bytes:
    """The whole body of an answer, which is let go of in every case.

    Raises:
        BadGateway: it breaks off.
        GatewayTimeout: it takes longer than ANTHROPIC_TIMEOUT.
    """
    try:
        return await answer.read()
    except APIConnectionError as error:
        raise connection_failure(error) from error
    finally:
        answer.close()


def connection_failure(error: APIConnectionError) -> BadGateway | GatewayTimeout:
    """The refusal that a caller gets for a connection that failed; it names no host."""
    if isinstance(error, APITimeoutError):
        return GatewayTimeout("upstream did not answer in time (ANTHROPIC_TIMEOUT)")
    lost = isinstance(error, ConnectionDied) and error.waited >= LOST_AFTER
    return (UpstreamLost if lost else BadGateway)(f"the connection to upstream failed ({error.message})")


def _may_retry(answer: Answer) -> bool:
    """Whether the SDK would try again, and may."""
    if answer.status == 429 and not may_come_again(answer.headers):
        return False
    should = header(answer.headers, b"x-should-retry")
    if should in (b"true", b"false"):
        return should == b"true" and answer.status >= 400
    return answer.status in RETRIED or answer.status >= 500


class _HeldAnswer(Answer):
    """A stream of which the first bytes were read already."""

    __slots__ = ("_answer", "_held", "headers", "status")

    def __init__(self, answer: Answer, held: bytes) -> None:
        self._answer = answer
        self._held = held
        self.status = answer.status
        self.headers = answer.headers

    async def read(self) -> bytes:
        return self._held + await self._answer.read()

    async def chunk(self) -> bytes:
        if self._held:
            held, self._held = self._held, b""
            return held
        return await self._answer.chunk()

    async def pass_on(self, handle: Handle) -> None:
        held, self._held = self._held, b""
        if held and (waiting := handle(held)):
            await waiting
        await self._answer.pass_on(handle)

    def close(self) -> None:
        self._answer.close()


class WholeAnswer(Answer):
    """An answer that is known whole."""

    __slots__ = ("_body", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self._body = body

    async def read(self) -> bytes:
        return self._body

    async def chunk(self) -> bytes:
        body, self._body = self._body, b""
        return body

    def close(self) -> None:
        self._body = b""


async def _hold_first_event(answer: Answer) -> Answer:
    """Wait for the first event that is not a ping: an error there is given its real status."""
    held = await answer.chunk() if answer.ready else b""
    if held.startswith(sse.MESSAGE_BEGIN) and b"\n\n" in held:  # as most begin: nothing to be looked for
        return _HeldAnswer(answer, held)
    chunk, splitter = held, sse.EventSplitter()
    # A slow first event: the stream begins, and what follows passes on as it comes.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HOLD_SECONDS):
            while True:
                for event in splitter.feed(chunk):
                    payload = sse.parse_event(event)
                    if payload is None or payload.get("type") == "ping":
                        continue
                    if payload.get("type") == "error":
                        answer.close()
                        return _as_status(answer, payload, sse.event_data(event))
                    return _HeldAnswer(answer, held)
                chunk = await answer.chunk()
                if not chunk:
                    break
                held += chunk
    return _HeldAnswer(answer, held)


def _as_status(answer: Answer, payload: dict[str, Any], body: bytes) -> Answer:
    error = payload.get("error")
    status = ERROR_STATUSES.get(str(error.get("type")) if isinstance(error, dict) else "", 500)
    headers = [(name, value) for name, value in answer.headers if name not in _FRAMING]
    return WholeAnswer(status, [*headers, (b"content-type", b"application/json")], body)


_FRAMING = frozenset(
    {b"content-type", b"content-length", b"transfer-encoding", b"cache-control", b"content-encoding"}
)
