"""Accept values, by the rules of RFC 9110 §12.5.1."""

import pytest

from gateway.negotiation import accepts, prefers, quality

JSON, SSE, LINES = "application/json", "text/event-stream", "application/x-jsonl"


@pytest.mark.parametrize(
    ("accept", "weight"),
    [
        (b"*/*", 1.0),
        (b"application/json", 1.0),
        (b"APPLICATION/JSON", 1.0),
        (b"application/*", 1.0),
        (b"application/json;q=0.3", 0.3),
        (b"application/json; charset=utf-8 ; q=0.25", 0.25),
        (b"text/html", 0.0),
        (b"text/html, */*;q=0.1", 0.1),
        (b"*/*, application/json;q=0", 0.0),
        (b"application/*;q=0.2, */*;q=0.9", 0.2),
        (b"application/json;q=7", 1.0),
        (b"application/json;q=-1", 0.0),
        (b"application/json;q=x", 1.0),
        (b"application/jsonp", 0.0),
        (b",,application/json", 1.0),
        (b"nonsense", 0.0),
    ],
)
def test_quality(accept: bytes, weight: float) -> None:
    assert quality(accept, JSON) == weight


def test_one_of_several_is_enough() -> None:
    assert accepts(b"text/*", (JSON, SSE))
    assert not accepts(b"image/png", (JSON, SSE))
    assert accepts(b"image/png", ())


@pytest.mark.parametrize(
    ("accept", "lines"),
    [
        (b"application/x-jsonl", True),
        (b"application/x-jsonl, application/json;q=0.9", True),
        (b"*/*", False),
        (b"application/json, application/x-jsonl", False),
        (b"application/json;q=0.1, application/x-jsonl;q=0.2", True),
    ],
)
def test_preference(accept: bytes, lines: bool) -> None:
    assert prefers(accept, LINES, to=JSON) is lines
