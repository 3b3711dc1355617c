"""Reading wrk's figures."""

import pytest

from bench.load import wrk

_OUTPUT = """Running 1s test @ http://127.0.0.1:1/
  100 requests in 2.00s

BENCH {"requests": 100, "duration_us": 2000000, "bytes": 5000, "p50_us": 1500, "p99_us": 9000, \
"max_us": 12000, "bad_status": %d, "socket_errors": %d}
"""


def test_figures_are_in_seconds_and_milliseconds() -> None:
    load = wrk.parse(_OUTPUT % (0, 0))
    assert load == wrk.Load(requests=100, seconds=2.0, bytes=5000, p50_ms=1.5, p99_ms=9.0, max_ms=12.0)
    assert load.rate == 50


@pytest.mark.parametrize("failures", [(1, 0), (0, 1)])
def test_a_round_with_a_failed_request_does_not_count(failures: tuple[int, int]) -> None:
    with pytest.raises(wrk.LoadError, match="not all requests"):
        wrk.parse(_OUTPUT % failures)


def test_output_without_figures_is_an_error_that_shows_it() -> None:
    with pytest.raises(wrk.LoadError, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:1")
