"""What the overload run says of what it saw."""

from bench.overload import Seen, findings, recovered

NORMAL = Seen([(moment / 10, 200, 0.5) for moment in range(100)])


def test_all_promises_kept() -> None:
    heavy = Seen([*NORMAL.answers, *((moment / 10, 503, 0.01) for moment in range(900))])

    assert all(finding.kept for finding in findings(NORMAL, heavy, Seen([(100.1, 200, 0.5)]), 100.0))


def test_a_collapse_is_seen() -> None:
    heavy = Seen([(moment, 200, 5.0) for moment in range(10)] + [(1.0, 500, 2.0)])
    kept = [finding.kept for finding in findings(NORMAL, heavy, Seen([(103.0, 200, 0.5)]), 100.0)]

    assert kept == [True, False, False, False, False, False]


def test_recovery_begins_where_nobody_is_refused() -> None:
    after = Seen([(0.1, 503, 0.0), (0.2, 200, 0.5), (0.6, 200, 3.0), (1.1, 200, 0.5)])

    assert recovered(after, 0.0, 1.0) == 1.0
    assert recovered(Seen([(0.1, 503, 0.0)]), 0.0, 1.0) == float("inf")
