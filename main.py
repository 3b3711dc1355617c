"""Start the gateway; `python main.py --help` lists the other commands."""

import sys

from gateway.cli import main

if __name__ == "__main__":
    sys.exit(main())
