"""`main.py` that asks upstream for nothing by itself: tests count its requests and script the answers."""

import runpy

from gateway import batch_costs, reconcile

batch_costs.LOOK_AFTER = reconcile.FIRST_AFTER = 86_400.0
runpy.run_path("main.py", run_name="__main__")
