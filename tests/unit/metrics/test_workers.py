"""Snapshots of several workers become one, whoever asks, and nothing ever goes back."""

from pathlib import Path

import pytest

from gateway.metrics.instruments import Description, Values
from gateway.metrics.workers import Snapshots, Worker, bury, join

COUNT = Description("count", "counter", "")
TIMES = Description("times", "histogram", "", ("model",), (1.0,))
WRITES = Description("writes", "summary", "")
RUNNING = Description("running", "gauge", "")
SIZE = Description("size", "gauge", "", across="max")
READY = Description("ready", "gauge", "", across="min")
LEFT = Description("left", "gauge", "", across="latest")
SPENT = Description("spent", "gauge", "", across="local")
ALL = (COUNT, TIMES, WRITES, RUNNING, SIZE, READY, LEFT, SPENT)


def values(number: int) -> dict[str, Values]:
    return {
        "count": {(): number},
        "times": {("opus",): [number, 0, number / 2], (f"only {number}",): [0, 1, 9.0]},
        "writes": {(): [number, number / 4]},
        "running": {(): number},
        "size": {(): number},
        "ready": {(): number % 2},
        "left": {(): [100 - number, number]},
        "spent": {(): number},
    }


def snapshots(folder: Path, number: int) -> Snapshots:
    return Snapshots(Worker(number, folder), ALL, lambda: values(number))


def test_values_are_joined_by_their_rule() -> None:
    joined = join(ALL, [values(1), values(2)], {"count": {(): 10}, "times": {("opus",): [5, 5, 5.0]}})

    assert joined == {
        "count": {(): 13},
        "times": {("opus",): [8, 5, 6.5], ("only 1",): [0, 1, 9.0], ("only 2",): [0, 1, 9.0]},
        "writes": {(): [3, 0.75]},
        "running": {(): 3},
        "size": {(): 2},
        "ready": {(): 0},
        "left": {(): [99, 1]},
        "spent": {(): 1},
    }


def test_what_one_worker_does_not_know_another_tells() -> None:
    assert join([SIZE], [{}, {"size": {(): 3}}], {}) == {"size": {(): 3}}
    assert join([SIZE], [{}, {}], {}) == {}


def test_whichever_worker_is_asked(tmp_path: Path) -> None:
    one, two = snapshots(tmp_path, 1), snapshots(tmp_path, 2)
    one.write()
    two.write()

    for asked, own in ((one, 1), (two, 2)):
        joined = asked.joined()
        assert (joined.living, joined.buried) == (2, 0)
        assert joined.values["count"] == {(): 3}
        assert joined.values["spent"] == {(): own}


def test_the_dead_count_on_but_run_no_more(tmp_path: Path) -> None:
    one = snapshots(tmp_path, 1)
    snapshots(tmp_path, 2).write()
    snapshots(tmp_path, 3).write()
    before = one.joined().values

    bury(tmp_path, 2, ALL)
    bury(tmp_path, 3, ALL)

    joined = one.joined()
    assert (joined.living, joined.buried) == (1, 2)
    for name in ("count", "times", "writes"):
        assert joined.values[name] == before[name]
    assert joined.values["running"] == {(): 1}
    assert joined.values["size"] == {(): 1}
    assert not list(tmp_path.glob("worker-[23].json"))


def test_a_worker_that_dies_before_it_has_written(tmp_path: Path) -> None:
    bury(tmp_path, 7, ALL)

    joined = snapshots(tmp_path, 8).joined()
    assert (joined.living, joined.buried) == (1, 1)
    assert joined.values["count"] == {(): 8}


def test_a_scrape_in_the_middle_of_a_burial_counts_nothing_twice(tmp_path: Path) -> None:
    """The file for the dead is there already, that of the dead worker still."""
    one, two = snapshots(tmp_path, 1), snapshots(tmp_path, 2)
    two.write()
    left = (tmp_path / "worker-2.json").read_bytes()
    bury(tmp_path, 2, ALL)
    (tmp_path / "worker-2.json").write_bytes(left)

    assert one.joined().values["count"] == {(): 3}


def test_a_burial_in_the_middle_of_a_scrape_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker's file is listed, and gone when it is opened: the one for the dead has it by then."""
    one, two = snapshots(tmp_path, 1), snapshots(tmp_path, 2)
    two.write()
    read = Path.read_bytes

    def burying(path: Path) -> bytes:
        if path.name == "worker-2.json" and path.exists():
            monkeypatch.undo()
            bury(tmp_path, 2, ALL)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", burying)

    assert one.joined().values["count"] == {(): 3}


def test_what_was_shown_is_on_disk(tmp_path: Path) -> None:
    """So the answer of a worker that is killed right after it is not taken back."""
    counted = {"count": {(): 1}}
    asked = Snapshots(Worker(1, tmp_path), ALL, lambda: counted)
    asked.write()
    counted["count"] = {(): 5}

    shown = asked.joined().values["count"]
    bury(tmp_path, 1, ALL)

    assert shown == {(): 5}
    assert snapshots(tmp_path, 2).joined().values["count"] == {(): 7}


async def test_a_worker_writes_by_itself_and_at_its_end(tmp_path: Path) -> None:
    counted = {"count": {(): 1}}
    own = Snapshots(Worker(1, tmp_path), ALL, lambda: counted)
    await own.start()
    assert (tmp_path / "worker-1.json").exists()
    counted["count"] = {(): 4}
    await own.close()

    assert snapshots(tmp_path, 2).joined().values["count"] == {(): 6}


async def test_a_disk_that_is_full_hides_no_metrics(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, two = snapshots(tmp_path, 1), snapshots(tmp_path, 2)
    two.write()
    (tmp_path / "worker-1.draft").mkdir()  # root, too, cannot write there
    await one.start()

    assert one.joined().values["count"] == {(): 3}
    await one.close()
    assert "cannot be written for the other workers" in caplog.text
