"""What the operating system says about a process and its children: CPU time, memory, the use of a core.

Everything is read from `/proc` (Linux, proc(5)), because a server's own counters miss its helper processes
and its time inside the kernel, which for a proxy is most of it.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class ProcessStat:
    """The fields of `/proc/<pid>/stat` that the bench uses; times in clock ticks."""

    pid: int
    parent: int
    own_ticks: int
    reaped_ticks: int

    @property
    def ticks(self) -> int:
        """CPU time of the process, all its threads, and the children it has waited for."""
        return self.own_ticks + self.reaped_ticks


@dataclass(frozen=True)
class ThreadTime:
    """Seconds that a thread has run, and seconds that it was ready to run while others had the core."""

    ran: float
    queued: float

    def since(self, before: Self | None) -> "ThreadTime":
        """What has been added to `before`; None stands for a thread that was not there yet."""
        return ThreadTime(self.ran - before.ran, self.queued - before.queued) if before else self

    def awake(self, wall: float) -> float:
        """The share of `wall` seconds in which it did not sleep."""
        return min(1.0, (self.ran + self.queued) / wall)


def parse_stat(text: str) -> ProcessStat:
    """Parse one `/proc/<pid>/stat` line; the command name, up to the last `)`, may hold anything."""
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    utime, stime, cutime, cstime = (int(field) for field in fields[11:15])
    return ProcessStat(int(head.split()[0]), int(fields[1]), utime + stime, cutime + cstime)


def parse_busy_ticks(text: str) -> int:
    """Ticks in which any core was not idle, from the text of `/proc/stat`."""
    name, *values = text.splitlines()[0].split()
    if name != "cpu":
        raise ValueError(f"/proc/stat begins with {name}")
    user, nice, system, _idle, _iowait, irq, softirq = (int(value) for value in values[:7])
    return user + nice + system + irq + softirq


def _all_processes() -> list[ProcessStat]:
    stats = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stats.append(parse_stat((entry / "stat").read_text()))
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended between the listing and the reading
    return stats


def tree(root: int) -> list[ProcessStat]:
    """The live process `root` and all its live descendants."""
    children: dict[int, list[ProcessStat]] = {}
    found: list[ProcessStat] = []
    for stat in _all_processes():
        children.setdefault(stat.parent, []).append(stat)
        if stat.pid == root:
            found.append(stat)
    for stat in found:  # grows while it is walked: breadth first
        found.extend(children.get(stat.pid, []))
    return found


def cpu_seconds(root: int) -> float:
    """User and system time used so far by `root`, its threads, its children and theirs."""
    return sum(stat.ticks for stat in tree(root)) / TICKS_PER_SECOND


def parse_schedstat(text: str) -> ThreadTime:
    """Parse `/proc/<pid>/task/<tid>/schedstat`: nanoseconds run, nanoseconds queued, slices."""
    ran, queued, _slices = text.split()
    return ThreadTime(int(ran) / 1e9, int(queued) / 1e9)


def thread_times(pid: int) -> dict[int, ThreadTime]:
    """The times so far of each live thread of `pid`, by thread id."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return {int(task.name): parse_schedstat((task / "schedstat").read_text()) for task in tasks}


def rss_bytes(root: int) -> int:
    """Resident memory of `root` and its descendants; pages shared between them count once for each."""
    total = 0
    for stat in tree(root):
        total += int(Path(f"/proc/{stat.pid}/statm").read_text().split()[1]) * PAGE_BYTES
    return total


def peak_rss_bytes(root: int) -> int:
    """The peak resident memory of `root` and its live descendants, each at its own worst moment."""
    total = 0
    for stat in tree(root):
        status = Path(f"/proc/{stat.pid}/status").read_text()
        total += int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return total


def busy_seconds() -> float:
    """CPU time that all processes together have used since boot."""
    return parse_busy_ticks(Path("/proc/stat").read_text()) / TICKS_PER_SECOND
