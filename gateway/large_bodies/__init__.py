"""JSON bodies that would hold up every other caller, read in a process of its own (docs/adr/0015).

A megabyte of small blocks takes some 50 ms to parse, judge and walk through, 30 MB a second and a half, and
nobody else is served meanwhile. So above LARGE the bytes go to a worker process (`worker.py`), and what comes
back is a `Reading`: all that the gateway goes by, without the content (`reading.py`).
"""

from gateway.large_bodies.process import LargeBodies
from gateway.large_bodies.reading import LARGE, Reading, upstream_body

__all__ = ["LARGE", "LargeBodies", "Reading", "upstream_body"]
