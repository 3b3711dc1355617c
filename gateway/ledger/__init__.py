"""The ledger: one row a call, written before the call together with its reservation, settled after it.

`ledger.py` is what callers use, `book.py` writes the tables, `instances.py` finds the calls of processes that
died, `report.py` adds up, `recent.py` shows the latest rows.
"""

from gateway.ledger.entry import Entry, Outcome
from gateway.ledger.ledger import Ledger
from gateway.ledger.recent import recent_calls
from gateway.ledger.report import Column, usage_report
from gateway.ledger.tally import Tally

__all__ = ["Column", "Entry", "Ledger", "Outcome", "Tally", "recent_calls", "usage_report"]
