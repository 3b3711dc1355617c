"""Times as RFC 3339 writes them, and as milliseconds since 1970, exactly."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_EARLIEST = datetime.min.replace(tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC)


def parse(text: str) -> datetime:
    """A time in UTC, the nearest that a `datetime` can hold.

    Args:
        text: date, time and offset (RFC 3339 §5.6), such as `2027-01-31T12:00:00Z`.

    Raises:
        ValueError: it is none.
    """
    if text[16:19] == ":60":  # a leap second, which no datetime has: the second before stands for it
        text = text[:16] + ":59" + text[19:]
    moment = datetime.fromisoformat(text.upper())
    if moment.tzinfo is None:
        raise ValueError("a time needs its offset from UTC")
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # by its offset it belongs to the year 0 or 10000
        return _EARLIEST if moment.year == 1 else _LATEST


def milliseconds(moment: datetime) -> int:
    """Whole milliseconds from 1970 to a time."""
    return (moment - _EPOCH) // _MILLISECOND


def write(milliseconds: int) -> str:
    """A time, given as milliseconds since 1970, such as `2027-01-31T12:00:00.000Z`."""
    moment = _EPOCH + milliseconds * _MILLISECOND
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
