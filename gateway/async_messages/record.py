"""One asynchronous message, as the database has it and as its key is told of it."""

from dataclasses import dataclass
from typing import Any, Literal

from gateway import rfc3339
from gateway.errors import Headers
from gateway.prices import dollars

Status = Literal["queued", "running", "succeeded", "failed", "canceled", "interrupted"]

UNFINISHED: tuple[Status, ...] = ("queued", "running")


@dataclass(frozen=True, slots=True)
class AsyncMessage:
    """A message and how far it is.

    Attributes:
        instance_id: the process that has it.
        headers: those of the request that Anthropic is to get.
        request_content: the request's body, until the message has ended.
        answer_content: Anthropic's message, or the error, once it has ended.
        http_status: what the synchronous operation would have answered.
        cost: nano-dollars, as far as they are known.
        estimated: the cost is an estimate.

    Times are milliseconds since 1970.
    """

    id: str
    key_id: str
    instance_id: int
    status: Status
    model: str
    headers: Headers
    request_content: str
    created_at: int
    expires_at: int
    answer_content: str | None = None
    http_status: int | None = None
    upstream_request_id: str | None = None
    cost: int | None = None
    estimated: bool | None = None
    started_at: int | None = None
    ended_at: int | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing will change any more."""
        return self.status not in UNFINISHED

    def describe(self) -> dict[str, Any]:
        """What its key is told of it, but for message and error."""
        return {
            "id": self.id,
            "type": "async_message",
            "status": self.status,
            "model": self.model,
            "created_at": rfc3339.write(self.created_at),
            "started_at": _time(self.started_at),
            "ended_at": _time(self.ended_at),
            "expires_at": rfc3339.write(self.expires_at),
            "upstream_request_id": self.upstream_request_id,
            "cost_usd": None if self.cost is None else dollars(self.cost),
            "cost_estimated": self.estimated,
        }


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: what the database is to say of it.

    Attributes:
        answer: Anthropic's message or the error, as JSON; None for a run that was broken off.
    """

    status: Status
    http_status: int | None = None
    answer: bytes | None = None


def _time(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else rfc3339.write(milliseconds)
