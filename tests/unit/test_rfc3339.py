"""Times as RFC 3339 writes them, and only those that a datetime can hold."""

import pytest

from gateway import rfc3339


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2027-01-31T12:00:00Z", "2027-01-31T12:00:00+00:00"),
        ("2027-01-31t12:00:00z", "2027-01-31T12:00:00+00:00"),
        ("2027-01-31T12:00:00.5+02:00", "2027-01-31T10:00:00.500000+00:00"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59+00:00"),
        ("2016-12-31T15:59:60.999-08:00", "2016-12-31T23:59:59.999000+00:00"),
    ],
)
def test_it_is_read_as_utc(text: str, moment: str) -> None:
    assert rfc3339.parse(text).isoformat() == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2027-01-31",
        "2027-01-31T12:00:00",
        "2027-02-30T12:00:00Z",
        "2027-01-31T24:00:01Z",
        "9999-12-31T23:59:59-01:00",
        "0001-01-01T00:00:00+01:00",
    ],
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        rfc3339.parse(text)
