"""Times as Anthropic writes them."""

from datetime import UTC, datetime, timedelta


def now(*, plus_seconds: float = 0) -> str:
    """The time so many seconds from now, RFC 3339 in UTC, such as `2026-01-31T12:00:00.000000Z`."""
    moment = datetime.now(UTC) + timedelta(seconds=plus_seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
