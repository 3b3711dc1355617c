"""Messages that are answered in their own time (docs/adr/0011): accepted, run, kept to be fetched.

`record.py` is one of them and what is told of it, `table.py` writes it down, `lines.py` says whose turn it
is, `run.py` runs it, `service.py` is what the handlers use.
"""

from gateway.async_messages.record import AsyncMessage
from gateway.async_messages.service import AsyncMessages, Outcome

__all__ = ["AsyncMessage", "AsyncMessages", "Outcome"]
