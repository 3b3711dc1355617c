"""What the soak run makes of its samples."""

import pytest

from bench.soak import ALLOWED, Samples, slope


def test_a_slope_is_not_bent_by_outliers() -> None:
    moments = list(range(20))
    values = [5.0 + 2 * moment for moment in moments]
    values[3] = values[17] = 1000.0

    assert slope(moments, values) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize(("leak", "kept"), [(0.0, True), (0.5, False)])
def test_a_leak_is_seen_and_noise_is_not(leak: float, kept: bool) -> None:
    samples = Samples(
        [float(second) for second in range(400)],
        {"memory (MB)": [200 + second % 7 + leak * second for second in range(400)]},
    )

    assert (samples.rise("memory (MB)") <= ALLOWED["memory (MB)"](samples.level("memory (MB)"))) is kept


def test_the_warm_up_is_not_looked_at() -> None:
    values = [float(min(second, 90)) for second in range(400)]
    samples = Samples([float(second) for second in range(400)], {"tasks": values})

    assert samples.level("tasks") == 90
    assert samples.rise("tasks") == 0
