"""Batches point at their results with an absolute address: it has to be the gateway's.

Followed as Anthropic writes it, the SDK would send the gateway's key to Anthropic's host and pass the gateway
by.
"""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

from gateway.call import Call
from gateway.origin import public_origin

_MEMBER = re.compile(rb'("results_url"\s*:\s*)("(?:[^"\\]|\\.)*")')


def with_own_results_url(call: Call, body: bytes, parsed: Any) -> bytes:
    """A batch, or a list of batches, whose `results_url` leads back to the gateway; no other byte is changed.

    Args:
        call: the request that is answered; its dialect decides which of our paths is meant.
        body: upstream's bytes.
        parsed: the same, parsed.
    """
    own = {url: _own_url(call, batch_id, url) for batch_id, url in _results_urls(parsed)}

    def replaced(member: re.Match[bytes]) -> bytes:
        url = own.get(json.loads(member[2]))
        return member[0] if url is None else member[1] + json.dumps(url).encode()

    return _MEMBER.sub(replaced, body) if own else body


def _results_urls(parsed: Any) -> Iterator[tuple[str, str]]:
    items = (
        parsed.get("data") if isinstance(parsed, dict) and isinstance(parsed.get("data"), list) else [parsed]
    )
    for item in items or ():
        if isinstance(item, dict) and isinstance(item.get("results_url"), str):
            yield str(item.get("id")), item["results_url"]


def _own_url(call: Call, batch_id: str, url: str) -> str:
    origin = public_origin(call)
    if call.dialect == "envelope":
        return f"{origin}/api/v1/batches/{quote(batch_id, safe='')}/results"
    parts = urlsplit(url)
    return f"{origin}{parts.path}{'?' + parts.query if parts.query else ''}"
