"""Which headers pass the gateway, up and back (docs/adr/0003)."""

import json

from gateway.call import Call
from gateway.errors import BadRequest, Headers, PermissionDenied
from gateway.pool import Answer

PASSED_UP = frozenset(
    {
        b"accept",
        b"anthropic-beta",
        b"anthropic-user-profile-id",
        b"anthropic-version",
        b"anthropic-worker-id",
        b"anthropic-workspace-id",
        b"content-type",
        b"traceparent",
        b"tracestate",
    }
)
"""What of a native caller's headers reaches upstream, besides `x-stainless-*`."""

PASSED_UP_BY_ENVELOPE = frozenset({b"anthropic-beta", b"anthropic-version", b"traceparent", b"tracestate"})
"""What of an envelope caller's headers reaches upstream."""

PASSED_BACK = frozenset(
    {
        b"content-disposition",
        b"content-encoding",
        b"content-type",
        b"request-id",
        b"retry-after",
        b"retry-after-ms",
        b"x-should-retry",
    }
)
"""What of upstream's headers comes back on the native dialect, besides `anthropic-*`."""

PASSED_BACK_WITH_ERRORS = frozenset({b"retry-after", b"retry-after-ms", b"x-should-retry"})
"""What of them comes back with an error in the envelope."""

SAMPLING_VERSION = "2023-06-01"
"""The API version of the envelope's messages: later ones refuse temperature, top_p and top_k."""

SAMPLING_TAGS = frozenset({"messages", "batches"})

_STAINLESS = b"x-stainless-"
_RAW_RESPONSE = (
    b"x-stainless-raw-response"  # meant for the SDK itself: upstream's copy would change what it returns
)


def native_headers(call: Call, defaults: dict[str, str]) -> dict[str, str]:
    """The headers of a native call to upstream: the caller's own, and of ours what it left out.

    Args:
        call: the request.
        defaults: those of the SDK's client, in lower case.

    Raises:
        BadRequest: a value is not UTF-8.
        PermissionDenied: a workspace is named, which only an admin may.
    """
    headers = {name: defaults[name] for name in ("authorization", "user-agent", "accept-encoding")}
    for name, value in call.headers:
        if name in PASSED_UP or (name.startswith(_STAINLESS) and name != _RAW_RESPONSE):
            if name == b"anthropic-workspace-id" and not (call.key and call.key.admin):
                raise PermissionDenied("anthropic-workspace-id needs the scope gateway:admin")
            _add(headers, name, value)
    headers.setdefault("accept", defaults["accept"])
    headers.setdefault("anthropic-version", defaults["anthropic-version"])
    return headers


def envelope_headers(call: Call, defaults: dict[str, str]) -> dict[str, str]:
    """The headers of an envelope call to upstream: ours, with the caller's version and betas.

    Raises:
        BadRequest: a value is not UTF-8.
    """
    assert call.operation is not None
    headers = dict(defaults)
    version = headers.pop("anthropic-version")
    if call.uploading:
        del headers["content-type"]
    for name, value in call.headers:
        if name in PASSED_UP_BY_ENVELOPE or (call.uploading and name == b"content-type"):
            _add(headers, name, value)
    headers.setdefault(
        "anthropic-version", SAMPLING_VERSION if call.operation.tag in SAMPLING_TAGS else version
    )
    return headers


def response_headers(answer: Answer) -> Headers:
    """Upstream's headers that a native caller gets."""
    return [
        (name, value)
        for name, value in answer.headers
        if name in PASSED_BACK or name.startswith(b"anthropic-")
    ]


def header(headers: Headers, name: bytes) -> bytes:
    """The first value of a header (name in lower case), or nothing."""
    for key, value in headers:
        if key == name:
            return value
    return b""


def may_come_again(headers: Headers) -> bool:
    """Whether an answer says when to try again: a 429 that does not is a spend limit."""
    return any(name in (b"retry-after", b"retry-after-ms") for name, _ in headers)


def to_json(headers: Headers) -> str:
    """Headers as a text, for a table."""
    return json.dumps([[part.decode("latin-1") for part in pair] for pair in headers])


def from_json(text: str) -> Headers:
    """What `to_json` made a text of."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in json.loads(text)]


def _add(headers: dict[str, str], name: bytes, value: bytes) -> None:
    """Several lines of one name join with commas (RFC 9110 §5.3)."""
    key = name.decode("latin-1")
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise BadRequest(f"header {key}: not UTF-8") from None
    headers[key] = f"{headers[key]}, {text}" if key in headers else text
