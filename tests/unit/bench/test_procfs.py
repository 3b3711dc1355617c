"""Reading the operating system's books."""

import os
import subprocess
import sys

import pytest

from bench import procfs

# proc(5), with a command name that tries to look like the end of itself.
_STAT = "42 (a) R 1 (b)) S 7 42 42 0 -1 4194560 100 0 0 0 250 50 30 20 20 0 1 0 12345 1000000 500"


def test_a_command_name_with_brackets_does_not_shift_the_fields() -> None:
    assert procfs.parse_stat(_STAT) == procfs.ProcessStat(pid=42, parent=7, own_ticks=300, reaped_ticks=50)


def test_busy_is_everything_but_idle_and_waiting_for_disks() -> None:
    assert procfs.parse_busy_ticks("cpu  1 2 4 1000 2000 8 16 32 0 0\ncpu0 1 1 1 1\n") == 31


def test_a_text_that_is_not_proc_stat_is_refused() -> None:
    with pytest.raises(ValueError, match="begins with intr"):
        procfs.parse_busy_ticks("intr 1 2 3")


def test_a_threads_time_is_in_seconds_and_counts_from_another() -> None:
    now, before = procfs.parse_schedstat("3000000000 500000000 7\n"), procfs.ThreadTime(1.0, 0.25)
    assert now == procfs.ThreadTime(ran=3.0, queued=0.5)
    assert now.since(before) == procfs.ThreadTime(ran=2.0, queued=0.25)
    assert now.since(None) == now
    assert now.since(before).awake(wall=4.5) == 0.5


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux")
def test_the_tree_holds_a_child_and_its_memory() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in {stat.pid for stat in procfs.tree(os.getpid())}
        assert {stat.pid for stat in procfs.tree(child.pid)} == {child.pid}
        assert 0 < procfs.rss_bytes(child.pid) <= procfs.peak_rss_bytes(child.pid)
        child.communicate(b"\n")
