"""What a key may still spend: reserved before a call, settled after it.

A call is let in while spent + reserved + its own reservation stay within the limit; and when they do not,
alone: as long as anything is left, one call at a time may pass. So no budget is passed by more than what
calls cost beyond their reservations, plus one call. docs/budgets.md states the bound.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import bindparam, func, select

from gateway.errors import BudgetExhausted
from gateway.keys import Budget
from gateway.prices import dollars
from gateway.store import Session
from gateway.store.statements import Statements
from gateway.store.tables import budgets, calls, usage_daily

Window = Literal["day", "month"]

ENOUGH_SAMPLES = 5
"""Settled calls from which a reservation is learned."""

SAMPLES = 100
"""Calls remembered: the latest, so that a change of habit is followed."""

RELEARN_AFTER = 20
"""New samples after which the percentile is computed anew."""

GROUPS = 4096
"""Groups of calls remembered; the one unused for longest makes room."""

PERCENTILE = 0.95

_ONE_DAY = timedelta(days=1)


class Calendar:
    """Days and months in the zone of the budgets.

    Args:
        zone: BUDGET_TIMEZONE.
    """

    def __init__(self, zone: ZoneInfo) -> None:
        self.zone = zone
        self._day = ""
        self._date = date.min
        self._until = 0.0
        self._from = 0.0

    def day(self, now: float) -> str:
        """The ISO date of a moment, given in seconds since 1970."""
        self._turn(now)
        return self._day

    def as_date(self, now: float) -> date:
        """The same as a date."""
        self._turn(now)
        return self._date

    def resets_at(self, window: Window, day: str) -> datetime:
        """When the window that holds a day is over."""
        today = date.fromisoformat(day)
        if window == "day":
            return self._midnight(today + _ONE_DAY)
        return self._midnight((today.replace(day=1) + timedelta(days=32)).replace(day=1))

    def _turn(self, now: float) -> None:
        """Work the day out anew only when it is another: every call asks."""
        if not self._from <= now < self._until:
            self._date = datetime.fromtimestamp(now, self.zone).date()
            self._day = self._date.isoformat()
            self._from = self._midnight(self._date).timestamp()
            self._until = self._midnight(self._date + _ONE_DAY).timestamp()

    def _midnight(self, day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=self.zone)


class Refusal(NamedTuple):
    """Why a call may not start.

    Attributes:
        window: the window whose limit stands in the way.
        limit: that limit, in nano-dollars.
        spent: what is spent of it.
        resets_at: when the window is over.
        final: it is used up; otherwise calls under way hold the rest, and some of it may come free.
    """

    window: Window
    limit: int
    spent: int
    resets_at: datetime
    final: bool

    def error(self) -> BudgetExhausted:
        """The 402 that tells it."""
        resets = self.resets_at.isoformat()
        zone = self.resets_at.tzinfo
        return BudgetExhausted(
            f"the budget of ${dollars(self.limit)} a {self.window} is used up (${dollars(self.spent)} spent);"
            f" it resets at {resets} ({zone})"
        )


@dataclass(slots=True)
class Balance:
    """One row of the table: what a key has spent and reserved in the running day and month."""

    key_id: str
    day: str
    day_spent: int = 0
    day_reserved: int = 0
    month: str = ""
    month_spent: int = 0
    month_reserved: int = 0

    def is_for(self, day: str) -> bool:
        """Whether a call of a day belongs to it: it is of that day, or of the next, where a replica may be.

        Otherwise a new day has begun, or a clock was wrong.
        """
        if self.day <= day:
            return self.day == day
        return date.fromisoformat(self.day) - date.fromisoformat(day) <= _ONE_DAY

    def roll(self, day: str) -> None:
        """Begin new windows when their time has come."""
        if day > self.day:
            self.day, self.day_spent, self.day_reserved = day, 0, 0
        if day[:7] > self.month:
            self.month, self.month_spent, self.month_reserved = day[:7], 0, 0

    def refuse(self, budget: Budget, amount: int, calendar: Calendar) -> Refusal | None:
        """Say what forbids to reserve an amount, of two windows the one that does for longer; else None."""
        windows: tuple[tuple[Window, int | None, int, int], ...] = (
            ("day", budget.day, self.day_spent, self.day_reserved),
            ("month", budget.month, self.month_spent, self.month_reserved),
        )
        refusal = None
        for window, limit, spent, reserved in windows:
            if limit is None:
                continue
            used_up = spent >= limit
            held = reserved and spent + reserved + amount > limit
            if used_up or (held and refusal is None):
                refusal = Refusal(window, limit, spent, calendar.resets_at(window, self.day), used_up)
        return refusal

    def reserve(self, day: str, amount: int) -> None:
        """Hold an amount for a call of a day, in the windows in which `settle` frees it."""
        if day == self.day:
            self.day_reserved += amount
        if day[:7] == self.month:
            self.month_reserved += amount

    def settle(self, day: str, reserved: int, cost: int) -> None:
        """Turn a reservation of a day into its cost; what belongs to a former window touches no later one."""
        self.roll(day)
        if day == self.day:
            self.day_reserved -= reserved
            self.day_spent += cost
        if day[:7] == self.month:
            self.month_reserved -= reserved
            self.month_spent += cost


class Balances:
    """The table of balances, read and written in the writer's transactions.

    Args:
        statements: for the database.
    """

    def __init__(self, statements: Statements) -> None:
        self._embedded = statements.embedded
        columns = [column.name for column in budgets.c]
        self._insert = statements.insert(budgets, budgets.c)
        self._select = statements.select_in(budgets, budgets.c.key_id, lock=True)
        changed = columns[1:]
        self._update = statements.compile(
            budgets.update()
            .where(budgets.c.key_id == bindparam("the_key"))
            .values({name: bindparam(f"new_{name}") for name in changed}),
            [*(f"new_{name}" for name in changed), "the_key"],
        )

    def load(self, session: Session, key_ids: Iterable[str]) -> dict[str, Balance]:
        """Read the balances of some keys and keep others from changing them until the commit.

        All that one transaction touches is locked here at once and in order: replicas never wait in a circle.
        """
        wanted = sorted(set(key_ids))
        if not wanted:
            return {}
        session.cursor.execute(self._select(len(wanted)), wanted)
        return {row[0]: Balance(*row) for row in session.cursor.fetchall()}

    def current(self, session: Session, found: Balance | None, key_id: str, day: str) -> Balance:
        """The balance of a key for a call of a day: as it was found, begun, or reckoned anew.

        A new day is reckoned as well: from before a change of BUDGET_TIMEZONE the ledger may know it already.
        """
        if found is None:
            return self._open(session, key_id, day)
        return found if found.is_for(day) else self._reckon(session, key_id, day)

    def put_back(self, session: Session, day: str, latest: str) -> None:
        """Reckon anew, for a day, the balances whose own day has yet to come.

        While BUDGET_TIMEZONE lay further east it was that day already; until it comes again they would hold
        nothing.

        Args:
            session: the transaction.
            day: today.
            latest: the last day on which a replica's clock can be.
        """
        ahead = session.connection.execute(select(budgets.c.key_id).where(budgets.c.day > latest)).scalars()
        found = self.load(session, ahead)
        self.save(session, [self._reckon(session, key_id, day) for key_id in found])

    def _open(self, session: Session, key_id: str, day: str) -> Balance:
        """Begin a balance for a key that has none."""
        if not self._embedded:  # no replica may settle between our reading and our insert
            session.cursor.execute("LOCK TABLE usage_daily IN SHARE ROW EXCLUSIVE MODE")
        balance = self._reckon(session, key_id, day)
        session.cursor.execute(self._insert, _row(balance))
        return balance

    def _reckon(self, session: Session, key_id: str, day: str) -> Balance:
        """What the ledger says that a key has spent and reserved; a balance that exists must be locked."""
        month = day[:7]

        def spent(first: str, last: str) -> int:
            total = select(func.coalesce(func.sum(usage_daily.c.cost), 0)).where(
                usage_daily.c.key_id == key_id, usage_daily.c.day.between(first, last)
            )
            return int(session.connection.execute(total).scalar_one())

        def reserved(first: str, last: str) -> int:
            total = select(func.coalesce(func.sum(calls.c.reserved), 0)).where(
                calls.c.status == "started", calls.c.key_id == key_id, calls.c.day.between(first, last)
            )
            return int(session.connection.execute(total).scalar_one())

        days = f"{month}-01", f"{month}-31"
        return Balance(key_id, day, spent(day, day), reserved(day, day), month, spent(*days), reserved(*days))

    def save(self, session: Session, balances: Iterable[Balance]) -> None:
        """Write changed balances back."""
        rows = [(*_row(balance)[1:], balance.key_id) for balance in balances]
        if rows:
            session.cursor.executemany(self._update, rows)


class Sample(NamedTuple):
    """What a settled call teaches.

    Attributes:
        ratio: cost of the prompt as it was, cached parts and all, by the quote that was made for it.
        rest: what the call cost beyond its prompt: the answer and server tools, in nano-dollars.
    """

    ratio: float
    rest: int


class _Group:
    """The latest samples of calls that resemble each other."""

    __slots__ = ("_fresh", "_ratios", "_rests", "learned")

    def __init__(self) -> None:
        self._ratios: deque[float] = deque(maxlen=SAMPLES)
        self._rests: deque[int] = deque(maxlen=SAMPLES)
        self._fresh = 0
        self.learned: Sample | None = None

    def add(self, sample: Sample) -> None:
        self._ratios.append(sample.ratio)
        self._rests.append(sample.rest)
        self._fresh += 1
        count = len(self._rests)
        if count >= ENOUGH_SAMPLES and (self._fresh >= RELEARN_AFTER or count < RELEARN_AFTER):
            self._fresh = 0
            rank = int(PERCENTILE * count)
            self.learned = Sample(sorted(self._ratios)[rank], sorted(self._rests)[rank])


class Learned:
    """How much calls really cost, so that a large `max_tokens` alone does not block a budget.

    Calls are told apart by key, model and the size of `max_tokens` in steps of four: an app that chats says
    little about the same app's agents.
    """

    def __init__(self) -> None:
        self._groups: OrderedDict[tuple[str, str, int], _Group] = OrderedDict()

    def add(self, key_id: str, model: str, max_tokens: int, sample: Sample) -> None:
        """Learn from a call that was settled exactly."""
        size = max_tokens.bit_length() // 2
        for group in ((key_id, model, size), ("", model, size)):
            found = self._groups.get(group)
            if found is None:
                found = self._groups[group] = _Group()
                if len(self._groups) > GROUPS:
                    self._groups.popitem(last=False)
            found.add(sample)
            self._groups.move_to_end(group)

    def reservation(self, key_id: str, model: str, max_tokens: int, prompt: int, answer: int) -> int:
        """What to hold for a call.

        Args:
            key_id: who calls.
            model: the model asked for.
            max_tokens: the longest answer asked for.
            prompt: quote for the prompt, in nano-dollars.
            answer: quote for the longest answer.

        Returns:
            Nano-dollars: the 95th percentile of what such calls cost, for key and model, else for the model;
            until there is something to learn from, the quotes.
        """
        size = max_tokens.bit_length() // 2
        for group in ((key_id, model, size), ("", model, size)):
            found = self._groups.get(group)
            if found is not None and found.learned is not None:
                ratio, rest = found.learned
                return max(1, int(prompt * ratio) + rest)
        return max(1, prompt + answer)


def _row(balance: Balance) -> tuple[Any, ...]:
    return (
        balance.key_id,
        balance.day,
        balance.day_spent,
        balance.day_reserved,
        balance.month,
        balance.month_spent,
        balance.month_reserved,
    )
