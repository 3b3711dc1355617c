"""A call in the ledger, and what is written of it."""

from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from gateway.keys import Budget, Key
from gateway.usage import Sampling

Outcome = Literal["done", "failed", "canceled", "interrupted"]
"""How a call ended: with Anthropic's answer, with an error, by its caller, by the death of the process."""


@dataclass(slots=True, eq=False)
class Entry:
    """A call under way. Made by `Ledger.begin`, closed by `Ledger.settle`."""

    id: int
    key: Key
    model: str
    day: str
    priced_on: date
    input_tokens: int
    max_tokens: int
    prompt_quote: int
    answer_quote: int
    reserved: int = 0
    settled: bool = False


@dataclass(slots=True)
class Start:
    """A row to be written before the call; `row` has the columns of `book.STARTED` up to `reserved`."""

    id: int
    key_id: str
    budget: Budget
    day: str
    reserved: int
    row: tuple[Any, ...]


@dataclass(slots=True)
class Settlement:
    """What a call's row becomes; `row` has the columns of `book.SETTLED`, `daily` those of `usage_daily`."""

    id: int
    key_id: str
    day: str
    reserved: int
    cost: int
    row: tuple[Any, ...]
    daily: tuple[Any, ...]


def daily(
    day: str, key_id: str, model: str, total: Sampling, cost: int, *, requests: int = 1, estimated: int = 0
) -> tuple[Any, ...]:
    """What a call adds to the sums of its day, in the order of the table.

    Args:
        day: on which it began.
        key_id: who called.
        model: what was asked for.
        total: what it used.
        cost: in nano-dollars.
        requests: how many calls these are.
        estimated: how many of them have no exact cost.
    """
    written = total.cache_write_5m_tokens + total.cache_write_1h_tokens
    return (
        day, key_id, model, requests, estimated,
        total.input_tokens, total.output_tokens, total.cache_read_tokens, written, cost,
    )  # fmt: skip
