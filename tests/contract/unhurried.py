"""`main.py` without the delay that wrong keys are answered with: generated tests try hundreds of them."""

import runpy

from gateway.keys import WrongKeys

WrongKeys.LONGEST = 0.0
runpy.run_path("main.py", run_name="__main__")
