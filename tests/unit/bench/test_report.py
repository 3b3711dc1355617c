"""Tables and documents of a run."""

import json
from pathlib import Path

import pytest

from bench.report import Metric, Report

_METRICS = (
    Metric("rate", "requests/s", "higher"),
    Metric("beside", "beside nginx", "higher", 2),
    Metric("wait", "added ms", "lower", 1),
)


@pytest.fixture
def report() -> Report:
    report = Report("unary", _METRICS, {"rounds": 2}, {"python": "3.11"})
    report.add("nginx", rate=1000.0, alone=1.0)
    report.add("gateway", rate=200.0, alone=1.5)
    report.add("nginx", rate=400.0, alone=2.0)  # a disturbed round
    report.add("gateway", rate=240.0, alone=2.7)
    report.compare("beside", "rate", "nginx")
    report.subtract("wait", "alone", "nginx")
    return report


def test_a_ratio_is_taken_round_by_round_and_its_best_from_the_bests(report: Report) -> None:
    summary = report.summary("gateway", _METRICS[1])
    assert summary is not None
    assert summary.rounds == (0.2, 0.6)
    assert summary.median == pytest.approx(0.4)
    assert summary.best == 0.24  # 240 beside 1000, not the 0.6 of the round in which nginx was slow


def test_an_added_wait_is_a_difference(report: Report) -> None:
    summary = report.summary("gateway", _METRICS[2])
    assert summary is not None
    assert summary.rounds == pytest.approx((0.5, 0.7))


def test_the_table_shows_the_median_and_the_best(report: Report) -> None:
    lines = report.table().splitlines()
    assert lines[0].split() == ["unary", "requests/s", "beside", "nginx", "added", "ms"]
    assert lines[3].split() == ["gateway", "220", "(240)", "0.40", "(0.24)", "0.6", "(0.5)"]


def test_what_was_not_measured_is_a_dash() -> None:
    report = Report("unary", _METRICS, {}, {})
    report.add("gateway", rate=200.0)
    report.compare("beside", "rate", "nginx")
    assert report.table().splitlines()[2].split() == ["gateway", "200", "-", "-"]


def test_the_document_holds_each_round_the_machine_and_the_settings(report: Report, tmp_path: Path) -> None:
    document = json.loads(report.write(tmp_path / "results").read_text())
    assert document["machine"] == {"python": "3.11"}
    assert document["settings"] == {"rounds": 2}
    assert document["figures"]["gateway"]["rate"] == {
        "median": 220.0,
        "best": 240.0,
        "rounds": [200.0, 240.0],
    }
