"""A key: who calls, and what they may do."""

import re
from dataclasses import dataclass, field
from typing import Any

from gateway import rfc3339
from gateway.prices import NANODOLLARS

ADMIN_SCOPE = "gateway:admin"
ANY_SCOPE = "any"
"""What an operation asks for that every key may use; no scope that a key has."""

SCOPES = (
    "messages",
    "batches",
    "models",
    "files",
    "skills",
    "agents",
    "organization",
    ADMIN_SCOPE,
)
DEFAULT_SCOPES = SCOPES[:5]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a key may use a minute and at a time; None is unlimited."""

    requests_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    output_tokens_per_minute: int | None = None
    concurrency: int | None = None

    @property
    def unlimited(self) -> bool:
        """Whether nothing needs to be counted."""
        return (
            self.requests_per_minute is None
            and self.input_tokens_per_minute is None
            and self.output_tokens_per_minute is None
            and self.concurrency is None
        )


@dataclass(frozen=True, slots=True)
class Budget:
    """What a key may spend, in nano-dollars; None is unlimited."""

    day: int | None = None
    month: int | None = None

    @property
    def unlimited(self) -> bool:
        """Whether nothing needs to be reserved."""
        return self.day is None and self.month is None


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """Who calls, and what they may do. Times are milliseconds since 1970."""

    id: str
    name: str
    scopes: frozenset[str]
    models: tuple[str, ...] = ("*",)
    limits: Limits = field(default_factory=Limits)
    budget: Budget = field(default_factory=Budget)
    created_at: int = 0
    updated_at: int = 0
    expires_at: int | None = None
    revoked_at: int | None = None
    pattern: re.Pattern[str] | None = None

    @property
    def place(self) -> tuple[int, str]:
        """Where it stands in a list by age."""
        return self.created_at, self.id

    @property
    def admin(self) -> bool:
        """Whether it sees and manages everything."""
        return ADMIN_SCOPE in self.scopes

    def may(self, scope: str) -> bool:
        """Whether it has a scope; `gateway:admin` has them all."""
        return scope in self.scopes or ADMIN_SCOPE in self.scopes or scope == ANY_SCOPE

    def allows(self, model: str) -> bool:
        """Whether it may use a model."""
        return self.pattern is None or self.pattern.fullmatch(model) is not None

    def describe(self) -> dict[str, Any]:
        """The key as the API shows it, without its secret."""
        return {
            "id": self.id,
            "name": self.name,
            "scopes": [scope for scope in SCOPES if scope in self.scopes],
            "models": list(self.models),
            "expires_at": _timestamp(self.expires_at),
            "limits": {name: getattr(self.limits, name) for name in LIMITS},
            "budget": {
                "usd_per_day": _usd(self.budget.day),
                "usd_per_month": _usd(self.budget.month),
            },
            "created_at": _timestamp(self.created_at),
            "updated_at": _timestamp(self.updated_at),
            "revoked_at": _timestamp(self.revoked_at),
        }


LIMITS = tuple(Limits.__dataclass_fields__)
BUDGET = {"usd_per_day": "day", "usd_per_month": "month"}


def _timestamp(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else rfc3339.write(milliseconds)


def _usd(amount: int | None) -> float | int | None:
    if amount is None:
        return None
    whole, rest = divmod(amount, NANODOLLARS)
    return whole if rest == 0 else amount / NANODOLLARS
