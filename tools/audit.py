"""Look up the pinned packages among the known vulnerabilities (OSV), by pip-audit.

python -m tools.audit: 0 none is known, 1 some are, 2 nothing is known because OSV cannot be reached.
"""

import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = ("requirements.txt", "requirements-dev.txt")
SERVICE = ("api.osv.dev", 443)
PATIENCE = 10.0
"""Seconds to wait for a connection."""

UNREACHABLE = 2


def main() -> int:
    """Audit both files; the exit code says what came of it."""
    try:
        socket.create_connection(SERVICE, PATIENCE).close()
    except OSError as fault:
        print(f"NOT AUDITED: {SERVICE[0]} cannot be reached ({fault}), so nothing is known either way")
        return UNREACHABLE
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", "osv", "--strict"]
    command += ["--require-hashes", "--disable-pip", "--progress-spinner", "off"]
    failed = [file for file in FILES if subprocess.run([*command, "-r", ROOT / file], check=False).returncode]
    for file in failed:
        print(f"{file} did not pass")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
