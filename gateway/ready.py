"""Awaitables of what is there already: no coroutine is made where nothing is waited for."""

from collections.abc import Generator
from typing import Generic, TypeVar

T = TypeVar("T")


class Ready(Generic[T]):
    """A result, to be awaited any number of times.

    Args:
        result: what awaiting gives.
    """

    __slots__ = ("_result",)

    def __init__(self, result: T) -> None:
        self._result = result

    def __await__(self) -> Generator[None, None, T]:
        yield from ()  # which makes it a generator that ends at once
        return self._result


DONE = Ready(None)
"""What a function returns that had nothing to wait for."""
