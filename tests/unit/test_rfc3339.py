"""Times as RFC 3339 writes them, in UTC."""

import pytest

from gateway import rfc3339


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2027-01-31T12:00:00Z", "2027-01-31T12:00:00+00:00"),
        ("2027-01-31t12:00:00z", "2027-01-31T12:00:00+00:00"),
        ("2027-01-31T12:00:00.5+02:00", "2027-01-31T10:00:00.500000+00:00"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59+00:00"),
        ("9999-12-31T23:59:59-01:00", "9999-12-31T23:59:59.999999+00:00"),
        ("0001-01-01T00:00:00+01:00", "0001-01-01T00:00:00+00:00"),
        ("2016-12-31T15:59:60.999-08:00", "2016-12-31T23:59:59.999000+00:00"),
    ],
)
def test_it_is_read_as_utc(text: str, moment: str) -> None:
    assert rfc3339.parse(text).isoformat() == moment


@pytest.mark.parametrize(
    "text",
    [
        "0001-01-01T00:00:00.000Z",
        "1969-12-31T23:59:59.999Z",
        "1970-01-01T00:00:00.000Z",
        "2027-01-31T12:00:00.001Z",
        "9999-12-31T23:59:59.999Z",
    ],
)
def test_milliseconds_are_exact_over_the_whole_range(text: str) -> None:
    assert rfc3339.write(rfc3339.milliseconds(rfc3339.parse(text))) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2027-01-31",
        "2027-01-31T12:00:00",
        "2027-02-30T12:00:00Z",
        "2027-01-31T24:00:01Z",
    ],
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        rfc3339.parse(text)
