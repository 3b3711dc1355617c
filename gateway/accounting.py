"""Book the calls that cost tokens: from what the relay has seen of a call to a row of the ledger."""

from gateway.call import Call
from gateway.ledger import Entry, Ledger, Outcome
from gateway.limits import Limiter
from gateway.splice import DEFAULT_MAX_TOKENS
from gateway.usage import Usage, estimate_input_tokens

LARGEST_MAX_TOKENS = 1_000_000_000
"""More than any model takes: what is larger is upstream's to refuse, and its price must fit a column."""


class Accounting:
    """Begins and settles ledger entries for calls.

    Args:
        ledger: where they are booked.
        limiter: which counts their tokens.
    """

    def __init__(self, ledger: Ledger, limiter: Limiter) -> None:
        self._ledger = ledger
        self._limiter = limiter

    async def begin(self, call: Call) -> None:
        """Count a call's prompt, write it down and reserve its cost, before it goes to upstream.

        Raises:
            BudgetExhausted, RateLimited, ServiceUnavailable: as `Limiter.take_tokens` and `Ledger.begin`.
        """
        assert call.operation is not None
        assert call.key is not None
        payload = call.payload
        maximum = payload.get("max_tokens")
        if call.reading is not None:
            input_tokens = call.reading.input_tokens
        else:
            input_tokens = estimate_input_tokens(payload, len(call.body))
        if call.admission is not None:
            await self._limiter.take_tokens(call.admission, input_tokens)
        call.entry = await self._ledger.begin(
            call.key,
            call.request_id,
            call.operation.id,
            call.model or "",
            input_tokens=input_tokens,
            max_tokens=DEFAULT_MAX_TOKENS if maximum is None else min(maximum, LARGEST_MAX_TOKENS),
            fast=payload.get("speed") == "fast",
        )

    async def check_budget(self, call: Call) -> None:
        """Refuse a call whose cost is not known before it is over, when a budget of its key is used up.

        Raises:
            BudgetExhausted, ServiceUnavailable: as `Ledger.check_budget`.
        """
        assert call.key is not None
        await self._ledger.check_budget(call.key)

    def settle(self, call: Call) -> None:
        """Let a call out: book and count what it used, and write its `usage` and `cost_nanodollars`."""
        try:
            self._book(call)
        finally:
            if call.admission is not None:
                self._limiter.release(call.admission, call.usage)

    def _book(self, call: Call) -> None:
        entry = call.entry
        if entry is None:
            return
        call.usage = usage = _usage(call, entry)
        cost = self._ledger.settle(
            entry,
            usage,
            outcome=_outcome(call),
            http_status=call.status,
            upstream_request_id=call.upstream_request_id,
        )
        call.cost_nanodollars = cost.nanodollars


def _usage(call: Call, entry: Entry) -> Usage:
    model = call.model or entry.model
    if call.complete:
        return Usage.read(model, call.reported_usage or {}, call.stop_reason)
    if call.reported_usage is None and not call.upstream_may_bill:
        return Usage.none(model)
    return Usage.floor(
        model, call.reported_usage, text_bytes=call.delta_bytes, input_tokens=entry.input_tokens
    )


def _outcome(call: Call) -> Outcome:
    if call.disconnected:
        return "canceled"
    return "done" if call.complete else "failed"
