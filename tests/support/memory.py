"""How much memory a process comes to need, by the kernel's own high-water mark (Linux, proc(5))."""

from pathlib import Path

from tests.support.gateway import Gateway

_RESET_PEAK = "5"


class Growth:
    """By how many bytes a gateway's resident memory has at most grown since this was made."""

    def __init__(self, gateway: Gateway) -> None:
        self._folder = Path(f"/proc/{gateway.process.pid}")
        (self._folder / "clear_refs").write_text(_RESET_PEAK)
        self._start = self._peak()

    @property
    def most(self) -> int:
        return self._peak() - self._start

    def _peak(self) -> int:
        for line in (self._folder / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise LookupError("VmHWM")
