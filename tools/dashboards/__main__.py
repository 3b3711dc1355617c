"""Write Grafana's dashboards into prometheus/grafana/dashboards.

python -m tools.dashboards [--check]
"""

import argparse
import json
import sys
from pathlib import Path

from tools.dashboards.cost import COST
from tools.dashboards.grafana import Dashboard
from tools.dashboards.latency import LATENCY
from tools.dashboards.limits import LIMITS
from tools.dashboards.overview import OVERVIEW
from tools.dashboards.upstream import UPSTREAM

FOLDER = Path(__file__).parents[2] / "prometheus" / "grafana" / "dashboards"
DASHBOARDS = (OVERVIEW, COST, LATENCY, LIMITS, UPSTREAM)


def render(dashboard: Dashboard) -> str:
    """The document as it is committed."""
    return json.dumps(dashboard.document(), indent=1) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or with `--check` tell which are stale; return the exit code."""
    parser = argparse.ArgumentParser("python -m tools.dashboards")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is stale")
    check = parser.parse_args(arguments).check
    wanted = {FOLDER / f"{dashboard.name}.json": render(dashboard) for dashboard in DASHBOARDS}
    stale = [
        path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    stale += sorted(set(FOLDER.glob("*.json")) - wanted.keys())
    if check and stale:
        print(f"{', '.join(path.name for path in stale)}: stale, run make docs", file=sys.stderr)
        return 1
    for path in stale:
        if path in wanted:
            path.write_text(wanted[path], encoding="utf-8")
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
