"""A gateway in front of an upstream that misbehaves, with time-outs of fractions of a second."""

from collections.abc import Iterator

import pytest

from tests.faults.table import Table


@pytest.fixture(scope="session")
def table() -> Iterator[Table]:
    """The table of faults, which takes what a test saw."""
    table = Table()
    yield table
    table.close()
