"""A real Prometheus on loopback with the project's own configuration, only faster and elsewhere."""

import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.servers import binary, held_port, wait_for

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / "prometheus" / "prometheus.yml"
DEADLINE = 30.0


class Prometheus:
    """A running server. Queries are of `moment`, in seconds since 1970, where that is set, or else of now."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.moment: float | None = None

    def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of its API; fails when it reports an error."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
            return json.load(answer)["data"]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an instant query."""
        data = self.ask(
            "query", query=expr, **({} if self.moment is None else {"time": f"{self.moment:.3f}"})
        )
        assert data["resultType"] == "vector", expr
        result: list[dict[str, Any]] = data["result"]
        return result

    def values(self, expr: str, *labels: str) -> dict[tuple[str, ...], float]:
        """The values of an instant query, by some of their labels."""
        return {
            tuple(series["metric"].get(label, "") for label in labels): float(series["value"][1])
            for series in self.query(expr)
        }

    def wait_for_scrapes(self, count: int) -> None:
        """Wait until the gateway has been scraped so many times from now on."""
        since = time.time()
        expr = f'count_over_time(up{{job="gateway"}}[{DEADLINE:g}s] @ end()) and up == 1'
        deadline = time.monotonic() + DEADLINE
        while True:
            seconds = time.time() - since
            expr = f'sum(count_over_time(up{{job="gateway"}}[{max(1, round(seconds * 1000))}ms]))'
            if seconds > 0.1 and sum(self.values(expr).values()) >= count:
                return
            assert time.monotonic() < deadline, "Prometheus does not scrape"
            time.sleep(0.2)


@contextmanager
def running(folder: Path, targets: Sequence[str], key: str) -> Iterator[Prometheus]:
    """Run Prometheus until the context ends.

    Args:
        folder: for its data.
        targets: addresses of gateways.
        key: what `/metrics` asks for.
    """
    configuration = yaml.safe_load(CONFIGURATION.read_text())
    (folder / "key").write_text(key)
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(CONFIGURATION.parent / file) for file in configuration["rule_files"]]
    configuration["alerting"] = {}
    (job,) = (job for job in configuration["scrape_configs"] if job["job_name"] == "gateway")
    job["authorization"]["credentials_file"] = str(folder / "key")
    job["static_configs"] = [{"targets": list(targets)}]
    configuration["scrape_configs"] = [job]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration))

    port = held_port()
    arguments = [f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [binary("prometheus"), *arguments, f"--web.listen-address=127.0.0.1:{port}"],
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        wait_for(port, process)
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait(DEADLINE)
