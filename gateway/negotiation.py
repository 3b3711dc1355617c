"""Which content types a caller takes (RFC 9110 §12.5.1)."""

import functools


@functools.lru_cache(maxsize=256)
def accepts(accept: bytes, offered: tuple[str, ...]) -> bool:
    """Whether an `Accept` value admits one of the offered media types. A value that is none admits all."""
    return not offered or any(quality(accept, kind) > 0 for kind in offered)


@functools.lru_cache(maxsize=256)
def prefers(accept: bytes, kind: str, to: str) -> bool:
    """Whether an `Accept` value ranks the media type `kind` above `to`, or names it alone."""
    return quality(accept, kind) > quality(accept, to)


def quality(accept: bytes, kind: str) -> float:
    """The weight, 0 to 1, that an `Accept` value gives a media type; the most specific range decides."""
    main = kind.partition("/")[0]
    ranks = {kind: 2, f"{main}/*": 1, "*/*": 0}
    best, weight = -1, 0.0
    for item in accept.decode("latin-1").lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        rank = ranks.get(name, -1)
        if rank > best:
            best, weight = rank, _weight(parameters)
    return weight


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 1.0
    return 1.0
