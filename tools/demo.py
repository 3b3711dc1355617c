"""Serve with the sandbox as upstream and print a key and a call to try: what `make run` starts.

It keeps its data and its key in .run/, apart from a real installation, and looks neither at `.env` nor at the
caller's settings, `HOST`, `PORT`, `CORS_ORIGINS`, `LOG_LEVEL` and `LOG_FORMAT` excepted. Pages from port 8080
of this machine may call it, so that the one of README can be tried.
"""

import argparse
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from gateway.healthcheck import own_url
from gateway.settings import VARIABLES

ROOT = Path(__file__).parent.parent
READY_SECONDS = 60.0
ORIGINS = "http://127.0.0.1:8080,http://localhost:8080"
MESSAGE = {
    "model": "claude-sonnet-4-20250514",
    "max_tokens": 1024,
    "messages": [{"role": "user", "content": "Hello, Claude!"}],
}


def main() -> int:
    """Run the demonstration until it is stopped; return the server's exit code."""
    parser = argparse.ArgumentParser("python -m tools.demo")
    parser.add_argument(
        "--state", type=Path, default=ROOT / ".run", help="folder for data and key (default: .run)"
    )
    state: Path = parser.parse_args().state.absolute()
    host = os.environ.get("HOST") or "127.0.0.1"
    try:
        port = _free_port(host, int(os.environ.get("PORT") or 8000))
    except (OSError, ValueError, OverflowError) as error:
        print(f"Cannot listen on {host}: {error}. Another port: PORT=8765 make run", file=sys.stderr)
        return 1
    key = _key(state)
    server = subprocess.Popen(
        [sys.executable, "main.py", "--env-file", os.devnull],
        cwd=ROOT,
        env=_environment(state, host, port, key),
        process_group=0,  # a Ctrl-C comes to us alone and is passed on, once
    )
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda number, _frame: server.send_signal(number))
    url = own_url(host, port, tls=False)
    if _wait_until_ready(server, url):
        _introduce(url, key)
    elif server.poll() is None:
        print(f"Not ready after {READY_SECONDS:g} s; see the log above.", file=sys.stderr)
    exit_code = server.wait()
    return exit_code if exit_code >= 0 else 128 - exit_code


def _free_port(host: str, port: int) -> int:
    """Return the port, or a free one for 0.

    Raises:
        OSError: it is taken, or not ours to take.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise OSError(f"port {port}: {error.strerror or error}") from None
        free: int = probe.getsockname()[1]
        return free


def _key(state: Path) -> str:
    """Return the admin key of earlier starts, or make it."""
    state.mkdir(exist_ok=True)
    path = state / "admin-key"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(f"sk-gw-{secrets.token_urlsafe(32)}\n")
    return path.read_text().strip()


def _environment(state: Path, host: str, port: int, key: str) -> dict[str, str]:
    hidden = VARIABLES - {"LOG_LEVEL", "LOG_FORMAT"}
    return {name: value for name, value in os.environ.items() if name not in hidden} | {
        "UPSTREAM": "sandbox",
        "DATA_DIR": str(state / "data"),
        "CONFIG_DIR": str(state / "config"),
        "GATEWAY_ADMIN_KEY": key,
        "HOST": host,
        "PORT": str(port),
        "CORS_ORIGINS": os.environ.get("CORS_ORIGINS") or ORIGINS,
    }


def _wait_until_ready(server: subprocess.Popen[bytes], url: str) -> bool:
    """Tell whether the server became ready before it ended or the time was up."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + READY_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with opener.open(f"{url}/health/ready", timeout=1):
                return True
        except (OSError, http.client.HTTPException):  # refused, or 503
            time.sleep(0.1)
    return False


def _introduce(url: str, key: str) -> None:
    body = json.dumps(MESSAGE, separators=(",", ":"))
    print(
        f"\nReady at {url} - answers come from the sandbox. Console: {url}/ Documentation: {url}/docs\n"
        f"Key: {key}\n\n"
        f"curl -sS {url}/api/v1/messages/create"
        f" -H 'x-api-key: {key}' -H 'content-type: application/json' -d '{body}'\n",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
