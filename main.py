"""Start the gateway; `python main.py --help` lists the other commands."""

import sys

try:
    from gateway.cli import main
except ImportError as missing:
    if (missing.name or "").startswith("gateway"):  # ours: a traceback says more
        raise
    sys.exit(f"{missing}. Run `make install` once, then `.venv/bin/python main.py …`")

if __name__ == "__main__":
    sys.exit(main())
