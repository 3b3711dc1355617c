"""Bodies that could mean two things are refused; all others are read as any parser reads them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.json_body import parse

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: (
        st.lists(children) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), children)
    ),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_reads_what_others_read(value: object, ascii_only: bool) -> None:
    assert parse(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"{}{}",
        b"{'a':1}",
        b'{"a":1,}',
        b"[1,]",
        b"nul",
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"NaN",
        b'{"a":NaN}',
        b"[Infinity]",
        b"[-Infinity]",
        b"1e400",
        b"-1e400",
        b'{"a":[{"b":1E999}]}',
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        rb'{"a":1,"\u0061":2}',
        b'"\xff"',
        b'"\xc0\xaf"',
        b'"\xed\xa0\x80"',
        rb'"\ud800"',
        rb'"\udc00"',
        rb'"\ud800\ud800"',
        rb'"\ud800x"',
        rb'{"\udfff":1}',
        b'"\x00"',
        b'"\n"',
        b'"\\x41"',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b"[" * 10_000,
        b'{"a":' * 10_000,
    ],
)
def test_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(raw)

    assert refused.value.message.startswith("the body is not valid JSON: ")
    assert len(refused.value.message) < 200


def test_the_callers_words_are_not_repeated() -> None:
    with pytest.raises(BadRequest) as refused:
        parse(b'{"se\\"cret":1,"se\\"cret":2}')

    assert refused.value.message.startswith("the body is not valid JSON: duplicate key at line 1 column ")
    assert "cret" not in refused.value.message


@pytest.mark.parametrize(
    "raw", [rb'"\ud83d\ude00"', '"😀"'.encode(), b'"g\\u0000\\u00f0\\u007f"', b"1e308", b"1e-999"]
)
def test_taken(raw: bytes) -> None:
    assert parse(raw) == json.loads(raw)


def test_text_that_looks_like_an_infinity_inside() -> None:
    """The quick look for infinities goes by bytes, so strings that have them must not be refused."""
    text = "g\x00\x00\x00\x00\x00\x00ð\x7f" + "g\x00\x00\x00\x00\x00\x00\xf0\x7f"

    assert parse(json.dumps([text, 1.5]).encode()) == [text, 1.5]


def test_integers_of_any_size() -> None:
    assert parse(b"[123456789012345678901234567890]") == [123456789012345678901234567890]
