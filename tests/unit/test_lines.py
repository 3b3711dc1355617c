"""JSON lines said again as a list, in whatever pieces they come."""

import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.call import Call
from gateway.lines import as_envelope_list

CALL = cast(Call, SimpleNamespace(request_id="req_1", upstream_request_id="req_u", elapsed=0.012))
ITEMS: list[Any] = [{"custom_id": "a", "n": 1.5}, {"custom_id": "ü[]"}, [1], "text", None]
LINES = b"".join(json.dumps(item, ensure_ascii=False).encode() + b"\n" for item in ITEMS)


async def said(body: bytes, piece: int) -> bytes:
    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), piece):
            yield body[at : at + piece]

    return b"".join([chunk async for chunk in as_envelope_list(CALL, chunks())])


@pytest.mark.parametrize("piece", range(1, 40))
async def test_all_of_them_at_every_split(piece: int) -> None:
    for body in (LINES, LINES.rstrip(), LINES.replace(b"\n", b"\r\n"), b"\n\n" + LINES + b"\n", LINES + b" "):
        whole = json.loads(await said(body, piece))
        assert whole["data"] == ITEMS
        assert whole["success"] is True
        assert whole["metadata"] == {
            "request_id": "req_1",
            "processing_time_ms": 12,
            "upstream_request_id": "req_u",
        }


@pytest.mark.parametrize("body", [b"", b"\n", b" \r\n\n"])
async def test_none(body: bytes) -> None:
    assert json.loads(await said(body, 1))["data"] == []


async def test_each_line_leaves_when_it_is_whole() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"a":1}\n{"b"'
        yield b":2}\n"

    pieces = [piece async for piece in as_envelope_list(CALL, chunks())]

    assert pieces[0].endswith(b'"data":[{"a":1}')
    assert pieces[1] == b',{"b":2}'


async def test_bytes_of_a_line_stay() -> None:
    line = b'{"n":1.10,"e":1E5,"u":"\\u00fc","x":" [] "}'

    assert b'"data":[%b]' % line in await said(line + b"\n", 5)
