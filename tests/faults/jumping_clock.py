"""Run main.py with a clock that is off by the seconds which the file named by CLOCK_OFFSET holds.

python -m tests.faults.jumping_clock
"""

import os
import runpy
import time
from pathlib import Path

_true = time.time
_offset = Path(os.environ["CLOCK_OFFSET"])


def _shifted() -> float:
    return _true() + float(_offset.read_text())


time.time = _shifted
runpy.run_path("main.py", run_name="__main__")
