"""Limits of a key: requests, input and output tokens a minute, calls at a time.

`limiter.py` is what callers use. Counts are kept in this process (`local.py`), or in Redis for several
replicas (`shared.py`, through the `limits` library); both count in the same sliding windows (`window.py`).
Calls at a time pass a gate with a bounded queue (`gate.py`).
"""

from gateway.limits.limiter import RATE_LIMIT_HEADERS, Admission, Limiter, Quota

__all__ = ["RATE_LIMIT_HEADERS", "Admission", "Limiter", "Quota"]
