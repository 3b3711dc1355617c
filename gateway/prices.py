"""What a call costs: a dated table of prices, and exact arithmetic.

Money is an integer of nano-dollars (10^-9 USD). A price is an integer of femto-dollars (10^-15 USD) a token,
exact also when halved for a batch and raised for a region. The sum of a call is rounded once, half up, to
nano-dollars. No binary fraction is involved.
"""

import re
import tomllib
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple, Self

from gateway.faults import OperatorFault
from gateway.usage import Usage

NANODOLLARS = 1_000_000_000
"""Nano-dollars in a dollar."""

FEMTODOLLARS = 1_000_000
"""Femto-dollars in a nano-dollar."""

SHIPPED = Path(__file__).with_name("prices.toml")

_DATED = re.compile(r"-(?:latest|\d{8})$")
_CACHED = 4096


class PriceError(OperatorFault):
    """A price table cannot be used; the message names the file and the place."""


class Rates(NamedTuple):
    """Femto-dollars a token."""

    input: int
    output: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int


class Cost(NamedTuple):
    """What a call costs.

    Attributes:
        nanodollars: the sum.
        known: whether the table has the price; otherwise the dearest one was taken.
        prompt: what of the sum the prompt costs, cached parts and all.
    """

    nanodollars: int
    known: bool
    prompt: int


@dataclass(frozen=True, slots=True)
class Row:
    """The prices of one model from one day on, in dollars a million tokens."""

    ids: tuple[str, ...]
    since: date
    plain: "Decimals"
    large: "Decimals | None"
    fast: "Decimals | None"
    above: int | None
    source: str
    checked: bool


class Decimals(NamedTuple):
    """Dollars a million tokens, in the order of `Rates`."""

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal

    def rates(self, factor: Decimal) -> Rates:
        """The same in femto-dollars a token, times a factor.

        Raises:
            PriceError: a product is no whole number of femto-dollars.
        """
        scaled = [price * factor * 1_000_000_000 for price in self]
        if any(value != int(value) for value in scaled):
            raise PriceError(f"{', '.join(map(str, self))} times {factor} has more than nine decimals")
        return Rates(*map(int, scaled))


_ROW = frozenset(("ids", "from", *Decimals._fields, "above", "large", "fast", "source", "checked"))
_CLOSED = frozenset(("multipliers", "tools"))


class PriceTable:
    """Prices by model and day.

    Args:
        table: the contents of `prices.toml`, the operator's own merged in.

    Raises:
        PriceError: the table is not well formed.
    """

    def __init__(self, table: Mapping[str, Any]) -> None:
        try:
            self.version = str(table["version"])
            self.sources: dict[str, str] = dict(table["sources"])
            self._multipliers = _decimals(table["multipliers"])
            self._tiers = _decimals(table["service_tiers"])
            self._regions = _decimals(table["regions"])
            tools = _decimals(table["tools"])
            self._web_search, self._web_fetch, self._code_execution = (
                _per_thousand(tools[f"{tool}_per_thousand"])
                for tool in ("web_search", "web_fetch", "code_execution")
            )
            self._rows = self._read(table["model"])
        except KeyError as missing:
            raise PriceError(f"{missing} is missing") from missing
        self._families: dict[str, str | None] = {}
        self._row_of: dict[tuple[str, date], Row | None] = {}
        self._rates: dict[tuple[object, ...], tuple[Rates, bool]] = {}
        self._refuse_fractions()

    @classmethod
    def load(cls, override: Path | None = None) -> Self:
        """Read the shipped table and merge the operator's over it.

        Args:
            override: a file of the same form, which need not exist.

        Raises:
            PriceError: a file is not well formed.
        """
        table = tomllib.loads(SHIPPED.read_text("utf-8"))
        name = SHIPPED.name
        try:
            if override is not None and override.is_file():
                name = str(override)
                own = tomllib.loads(override.read_text("utf-8"))
                _check_names(own, table)
                table = _merge(table, own)
            return cls(table)
        except (PriceError, tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
            raise PriceError(f"{name}: {fault}") from fault

    @property
    def models(self) -> list[str]:
        """The ids that have a price, without their dated forms."""
        return sorted(self._rows)

    @property
    def unchecked(self) -> list[str]:
        """The ids whose latest price nobody has compared with Anthropic's page."""
        return sorted(name for name, rows in self._rows.items() if not rows[-1].checked)

    def knows(self, model: str) -> bool:
        """Whether the table has a price for a model id, also in its dated form."""
        return self.family(model) is not None

    def family(self, model: str) -> str | None:
        """The id under which the table has a model, None when it has not."""
        if model in self._rows:
            return model
        try:
            return self._families[model]
        except KeyError:
            if len(self._families) >= _CACHED:
                self._families.clear()
            name = _DATED.sub("", model)
            family = self._families[model] = name if name in self._rows else None
            return family

    def cost(self, usage: Usage, day: date) -> Cost:
        """Price a call.

        Args:
            usage: what it used.
            day: the day (UTC) it began.
        """
        prompt = answer = 0
        known = True
        for sampling in usage.samplings:
            rates, listed = self._rates_for(
                sampling.model,
                day,
                sampling.prompt_tokens,
                (usage.service_tier, usage.inference_geo, usage.speed),
            )
            known = known and listed
            answer += sampling.output_tokens * rates.output
            prompt += (
                sampling.input_tokens * rates.input
                + sampling.cache_read_tokens * rates.cache_read
                + sampling.cache_write_5m_tokens * rates.cache_write_5m
                + sampling.cache_write_1h_tokens * rates.cache_write_1h
            )
        total = (
            prompt
            + answer
            + usage.web_search_requests * self._web_search
            + usage.web_fetch_requests * self._web_fetch
            + usage.code_execution_requests * self._code_execution
        )
        return Cost((total + FEMTODOLLARS // 2) // FEMTODOLLARS, known, prompt // FEMTODOLLARS)

    def quote(
        self, model: str, day: date, input_tokens: int, output_tokens: int, *, fast: bool = False
    ) -> tuple[int, int]:
        """Nano-dollars of a prompt and of an answer, before the call, nothing cached.

        Args:
            model: the model asked for.
            day: today (UTC).
            input_tokens: estimate of the prompt.
            output_tokens: the most that may be answered.
            fast: the caller asks for `speed: fast`.
        """
        rates, _ = self._rates_for(model, day, input_tokens, ("standard", None, "fast" if fast else None))
        return (
            -(-input_tokens * rates.input // FEMTODOLLARS),
            -(-output_tokens * rates.output // FEMTODOLLARS),
        )

    def _rates_for(
        self, model: str, day: date, prompt_tokens: int, variant: tuple[str, str | None, str | None]
    ) -> tuple[Rates, bool]:
        row = self._find(model, day)
        large = row is not None and row.above is not None and prompt_tokens > row.above
        key = (model, day, large, variant)
        found = self._rates.get(key)
        if found is None:
            if len(self._rates) >= _CACHED:
                self._rates.clear()
            found = self._rates[key] = self._compute(row, day, variant, large=large)
        return found

    def _find(self, model: str, day: date) -> Row | None:
        key = (model, day)
        try:
            return self._row_of[key]
        except KeyError:
            if len(self._row_of) >= _CACHED:
                self._row_of.clear()
            name = self.family(model)
            row = self._row_of[key] = None if name is None else _on(self._rows[name], day)
            return row

    def _compute(
        self, row: Row | None, day: date, variant: tuple[str, str | None, str | None], *, large: bool
    ) -> tuple[Rates, bool]:
        tier, region, speed = variant
        prices = None
        if row is not None:
            prices = row.fast if speed == "fast" else row.large if large else row.plain
        known = prices is not None and tier in self._tiers
        factor = self._tiers.get(tier, Decimal(1)) * self._regions.get(region or "", Decimal(1))
        return (prices or self._dearest(day, fast=speed == "fast")).rates(factor), known

    def _dearest(self, day: date, *, fast: bool) -> Decimals:
        """The highest price of each kind on a day: what cannot be priced is never booked too low."""
        rows = [_on(rows, day) for rows in self._rows.values()]
        prices = [row.large or row.plain for row in rows]
        if fast:
            prices += [row.fast for row in rows if row.fast is not None]
        return Decimals(*map(max, zip(*prices, strict=True)))

    def _read(self, tables: Iterable[Mapping[str, Any]]) -> dict[str, list[Row]]:
        rows: dict[str, list[Row]] = {}
        for table in tables:
            row = self._row(table)
            for name in row.ids:
                rows.setdefault(name, []).append(row)
        for name, dated in rows.items():
            dated.sort(key=lambda row: row.since)
            if len({row.since for row in dated}) < len(dated):
                raise PriceError(f"{name} has two prices from the same day")
        return rows

    def _row(self, table: Mapping[str, Any]) -> Row:
        ids, since = table["ids"], table["from"]
        if not isinstance(since, date) or not isinstance(ids, list) or not ids:
            raise PriceError(f"{ids}: `from` must be a date and `ids` a list")
        if ("above" in table) != ("large" in table):
            raise PriceError(f"{ids}: `above` and [model.large] belong together")
        return Row(
            tuple(ids),
            since,
            self._prices(table),
            self._prices(table["large"]) if "large" in table else None,
            self._prices(table["fast"]) if "fast" in table else None,
            table.get("above"),
            table.get("source", "operator"),
            table.get("checked", True),
        )

    def _prices(self, table: Mapping[str, Any]) -> Decimals:
        base = _decimal("input", table["input"])

        def price(name: str) -> Decimal:
            return _decimal(name, table[name]) if name in table else base * self._multipliers[name]

        return Decimals(
            base,
            _decimal("output", table["output"]),
            price("cache_read"),
            price("cache_write_5m"),
            price("cache_write_1h"),
        )

    def _refuse_fractions(self) -> None:
        """Find at start, not at the first such call, a price that femto-dollars cannot hold."""
        factors = {
            tier * region for tier in self._tiers.values() for region in [Decimal(1), *self._regions.values()]
        }
        for name, rows in self._rows.items():
            for row in rows:
                for prices in filter(None, (row.plain, row.large, row.fast)):
                    try:
                        for factor in factors:
                            prices.rates(factor)
                    except PriceError as fault:
                        raise PriceError(f"{name}: {fault}") from fault


def dollars(nanodollars: int) -> str:
    """Write an amount as a decimal string of dollars, without an exponent or useless zeros."""
    whole, rest = divmod(abs(nanodollars), NANODOLLARS)
    text = f"{whole}.{rest:09d}".rstrip("0").rstrip(".")
    return f"-{text}" if nanodollars < 0 else text


def nanodollars(amount: Decimal) -> int:
    """Read an amount of dollars; what lies below a nano-dollar is cut off."""
    return int(amount * NANODOLLARS)


def _on(rows: list[Row], day: date) -> Row:
    """The row that holds on a day; before the first one, the first."""
    return next((row for row in reversed(rows) if row.since <= day), rows[0])


def _check_names(own: dict[str, Any], shipped: dict[str, Any]) -> None:
    """Refuse what means nothing here: a misspelt price would be no price."""
    _check_table(None, own, shipped)
    for name, table in shipped.items():
        if isinstance(table, dict):
            _check_table(name, own.get(name, {}), table if name in _CLOSED else None)
    rows = own.get("model", [])
    if not isinstance(rows, list):
        raise PriceError("a model's row begins with [[model]], in two pairs of brackets")
    for row in rows:
        _check_table("model", row, _ROW)
        for part in {"large", "fast"} & row.keys():
            _check_table(f"model.{part}", row[part], Decimals._fields)


def _check_table(name: str | None, table: object, known: Container[str] | None) -> None:
    if not isinstance(table, dict):
        raise PriceError(f"{name} must be a table")
    unknown = None if known is None else next((each for each in table if each not in known), None)
    if unknown is not None:
        raise PriceError(f"{unknown} is unknown" + (f" in [{name}]" if name else ""))


def _merge(shipped: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """The operator's tables over the shipped ones; an id that the operator lists loses its shipped rows."""
    merged = dict(shipped)
    for name, value in own.items():
        if name != "model":
            merged[name] = {**shipped.get(name, {}), **value} if isinstance(value, dict) else value
    named = {name for row in own.get("model", []) for name in row.get("ids", [])}
    kept = [{**row, "ids": [name for name in row["ids"] if name not in named]} for row in shipped["model"]]
    merged["model"] = [row for row in kept if row["ids"]] + own.get("model", [])
    return merged


def _decimals(table: Mapping[str, object]) -> dict[str, Decimal]:
    return {name: _decimal(name, value) for name, value in table.items()}


def _decimal(name: str, value: object) -> Decimal:
    if isinstance(value, str):
        try:
            number = Decimal(value)
        except InvalidOperation:
            number = Decimal("NaN")
        if number.is_finite() and number >= 0:
            return number
    raise PriceError(f'{name} must be a number in quotes, such as "2.50", not {value!r}')


def _per_thousand(price: Decimal) -> int:
    """Femto-dollars for one, from dollars for a thousand."""
    return int(price * NANODOLLARS * FEMTODOLLARS / 1000)
