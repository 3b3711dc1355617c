"""Splicing changes what it must and no byte more."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.splice import apply, batch_edits, message_edits


def spliced(raw: bytes, **options: Any) -> bytes:
    return apply(raw, message_edits(raw, json.loads(raw), **{"stream": None, **options}))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"max_tokens":1}', b'{"max_tokens":1}'),
        (b' \n{ "a" : 1 }\n', b' \n{"max_tokens":1024, "a" : 1 }\n'),
        (b'{"max_tokens":1,"tool_choice":"any"}', b'{"max_tokens":1,"tool_choice":{"type":"any"}}'),
        (
            b'{"tool_choice"\t:\r\n"none" ,"a":1}',
            b'{"max_tokens":1024,"tool_choice"\t:\r\n{"type":"none"} ,"a":1}',
        ),
        (b'{"max_tokens":1,"tool_choice":{"type":"any"}}', b'{"max_tokens":1,"tool_choice":{"type":"any"}}'),
        (
            rb'{"max_tokens":1,"tool_\u0063hoice":"auto","b":"\"tool_choice\":\"any\""}',
            rb'{"max_tokens":1,"tool_\u0063hoice":{"type":"auto"},"b":"\"tool_choice\":\"any\""}',
        ),
        (
            b'{"max_tokens":1,"a":{"tool_choice":"any"},"tool_choice":"auto"}',
            b'{"max_tokens":1,"a":{"tool_choice":"any"},"tool_choice":{"type":"auto"}}',
        ),
    ],
)
def test_allowances(raw: bytes, expected: bytes) -> None:
    assert spliced(raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"max_tokens":1}', b'{"stream":true,"max_tokens":1}'),
        (b'{"max_tokens":1,"stream":true}', b'{"max_tokens":1,"stream":true}'),
        (b'{"max_tokens":1,"stream" : false }', b'{"max_tokens":1,"stream" : true }'),
        (b'{"max_tokens":1,"stream":null}', b'{"max_tokens":1,"stream":true}'),
    ],
)
def test_streams(raw: bytes, expected: bytes) -> None:
    assert spliced(raw, stream=True) == expected


def test_counting_has_no_max_tokens() -> None:
    assert spliced(b'{"model":"m"}', count=True) == b'{"model":"m"}'
    assert spliced(b'{"tool_choice":"any"}', count=True) == b'{"tool_choice":{"type":"any"}}'


def test_batches_without_allowances_are_the_same_bytes() -> None:
    raw = b'{"requests":[{"custom_id":"a","params":{"max_tokens":1}}]}'

    assert apply(raw, batch_edits(raw, json.loads(raw))) is raw


def test_each_request_of_a_batch() -> None:
    raw = (
        '{"x":[{"params":{}}], "requests" : [ {"params":{ "model":"m"},"custom_id":"ü"} ,'
        '{"custom_id":"b","params":{"max_tokens":1,"tool_choice":"any"}}, {"params":{"max_tokens":2}} ] }'
    ).encode()
    expected = raw.replace(b'{ "model"', b'{"max_tokens":1024, "model"').replace(b'"any"', b'{"type":"any"}')

    assert apply(raw, batch_edits(raw, json.loads(raw))) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)
CHOICE = st.sampled_from(["auto", "any", "none"]) | st.fixed_dictionaries({"type": st.just("tool")})
FORM = st.sampled_from([{}, {"indent": 3}, {"separators": (" , ", "  :\t")}, {"ensure_ascii": False}])


@given(
    st.dictionaries(
        st.text().filter(lambda name: name not in ("max_tokens", "tool_choice", "stream")), JSON, min_size=1
    ),
    st.fixed_dictionaries(
        {}, optional={"max_tokens": st.integers(), "tool_choice": CHOICE, "stream": st.booleans()}
    ),
    FORM,
    st.sampled_from([None, True]),
)
def test_what_it_means_in_any_form(
    others: dict[str, Any], ours: dict[str, Any], form: dict[str, Any], stream: bool | None
) -> None:
    payload = {**others, **ours}
    raw = json.dumps(payload, **form).encode(errors="surrogatepass")
    if b"\xed" in raw:
        return  # a lone surrogate, which the gateway has refused before
    expected = {"max_tokens": 1024, **payload}
    if isinstance(expected.get("tool_choice"), str):
        expected["tool_choice"] = {"type": expected["tool_choice"]}
    if stream:
        expected["stream"] = True

    result = apply(raw, message_edits(raw, payload, stream=stream))

    assert json.loads(result) == expected
