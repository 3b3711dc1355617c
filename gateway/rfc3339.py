"""Read times as RFC 3339 writes them."""

from datetime import UTC, datetime


def parse(text: str) -> datetime:
    """A time in UTC.

    Args:
        text: date, time and offset (RFC 3339 §5.6), such as `2027-01-31T12:00:00Z`.

    Raises:
        ValueError: it is none, or lies beyond what a `datetime` can hold.
    """
    if text[16:19] == ":60":  # a leap second, which no datetime has: the second before stands for it
        text = text[:16] + ":59" + text[19:]
    moment = datetime.fromisoformat(text.upper())
    if moment.tzinfo is None:
        raise ValueError("a time needs its offset from UTC")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from error
