"""One page of a list of keys."""

from collections.abc import Sequence

from gateway.keys.key import Key


def page(
    keys: Sequence[Key], limit: int, after: Key | None = None, before: Key | None = None
) -> tuple[list[Key], bool]:
    """Cut a page out of a list. The cursors are places, so they hold also when their key has left the list.

    Args:
        keys: all of them, the latest first.
        limit: how many at most.
        after: the page starts right after this key.
        before: the page ends right before this key; with `after` too, it lies between them.

    Returns:
        The page, and whether there are more in its direction.
    """
    found = [
        key
        for key in keys
        if (after is None or key.place < after.place) and (before is None or key.place > before.place)
    ]
    backwards = before is not None and after is None
    return found[-limit:] if backwards else found[:limit], len(found) > limit
