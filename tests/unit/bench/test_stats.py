"""The bench's arithmetic."""

import pytest

from bench import stats


def test_the_best_of_a_cost_is_its_lowest_round() -> None:
    assert stats.summarise([3.0, 1.0, 2.0], "lower") == stats.Summary(2.0, 1.0, (3.0, 1.0, 2.0))


def test_the_best_of_a_rate_is_its_highest_round() -> None:
    assert stats.summarise([3.0, 1.0, 2.0], "higher").best == 3.0


def test_nothing_measured_is_no_summary() -> None:
    with pytest.raises(ValueError, match="no rounds"):
        stats.summarise([], "lower")


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (99.1, 100), (100, 100), (0.5, 1)])
def test_percentile_is_the_smallest_value_that_so_many_do_not_exceed(percent: float, expected: float) -> None:
    assert stats.percentile([float(value) for value in range(100, 0, -1)], percent) == expected


@pytest.mark.parametrize("percent", [0, -1, 100.1])
def test_percentile_refuses_what_is_no_percentage(percent: float) -> None:
    with pytest.raises(ValueError, match="percent"):
        stats.percentile([1.0], percent)


def test_rounds_are_compared_one_by_one() -> None:
    assert stats.ratios([10.0, 30.0], [5.0, 10.0]) == [2.0, 3.0]
    assert stats.differences([10.0, 30.0], [5.0, 10.0]) == [5.0, 20.0]


def test_rounds_that_do_not_pair_are_an_error() -> None:
    with pytest.raises(ValueError, match="argument 2"):
        stats.ratios([1.0, 2.0], [1.0])
