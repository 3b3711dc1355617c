"""What a reader needs to know about the machine and the versions before comparing numbers."""

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    "connexion",
    "anthropic",
    "uvicorn",
    "uvloop",
    "httptools",
    "starlette",
    "jsonschema-rs",
    "aiohttp",
)


def describe() -> dict[str, str]:
    """Processor, kernel and versions, as one line each."""
    facts = {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{_distribution()}, Linux {platform.release()}",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "python": platform.python_version(),
        "nginx": _tool_version("nginx", "-v"),
        "wrk": _tool_version("wrk", "-v"),
    }
    for package in _PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            continue
    return facts


def _processor() -> str:
    match = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match.group(1) if match else platform.machine()


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


def _tool_version(*command: str) -> str:
    # wrk answers -v with its usage and exit code 1; the version is in the first line all the same.
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    match = re.search(r"(\d+\.\d+[.\w-]*)", result.stdout + result.stderr)
    return match.group(1) if match else "?"
