"""`main.py` that looks at open batches and tries webhooks again within moments, not minutes."""

import runpy

from gateway import batch_costs, webhooks

batch_costs.LOOK_AFTER = 0.2
webhooks.PAUSES = (0.2,) * len(webhooks.PAUSES)
runpy.run_path("main.py", run_name="__main__")
