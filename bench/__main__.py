"""Command line of the benchmark: `python -m bench unary --subjects nginx,plain,gateway`."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.load.wrk import LoadError
from bench.options import Options
from bench.report import Report
from bench.scenarios import streams, unary
from bench.servers import StartError
from bench.subjects import STARTERS

RESULTS = Path(__file__).with_name("results")
SCENARIOS: dict[str, Callable[[Options], Report]] = {
    "unary": unary.run,
    "stream-burst": streams.burst,
    "stream-paced": streams.paced,
    "first-event": streams.first_event,
}


def main() -> int:
    """Run the scenarios asked for, one after the other; print a table and write a file for each."""
    arguments = _parser().parse_args()
    missing = [tool for tool in ("nginx", "wrk", "taskset") if not shutil.which(tool)]
    if missing or not sys.platform.startswith("linux"):
        print(f"needs Linux with {', '.join(missing) or 'its /proc'}; see bench/README.md", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {arguments.load_core})  # the gateway's core is the gateway's alone
    for scenario in arguments.scenarios:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            try:
                report = SCENARIOS[scenario](_options(arguments, Path(folder)))
            except (LoadError, StartError) as error:
                print(f"{scenario}: {error}", file=sys.stderr)
                return 1
        print(f"\n{report.table()}\n-> {os.path.relpath(report.write(arguments.results))}", flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Each figure is: median (best) of all rounds."
    )
    parser.add_argument(
        "scenarios", nargs="+", choices=SCENARIOS, metavar="scenario", help=", ".join(SCENARIOS)
    )
    parser.add_argument("--subjects", type=_subjects, default="nginx,plain,gateway", help=", ".join(STARTERS))
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds of each subject, interleaved (default: 5)"
    )
    parser.add_argument("--seconds", type=float, default=4, help="length of a round of load (default: 4)")
    parser.add_argument(
        "--connections", type=int, default=32, help="concurrent callers under load (default: 32)"
    )
    parser.add_argument("--streams", type=_numbers, default="200,400,600,800", help="steps of held streams")
    parser.add_argument("--megabytes", type=int, default=30, help="size of the big body (default: 30)")
    parser.add_argument("--gateway-core", type=int, default=1, help="CPU core of the subject (default: 1)")
    parser.add_argument("--load-core", type=int, default=0, help="core of load and upstream (default: 0)")
    parser.add_argument(
        "--set",
        type=_setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an environment variable for the gateway, e.g. RESPONSE_VALIDATION=off",
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON files")
    return parser


def _options(arguments: argparse.Namespace, folder: Path) -> Options:
    return Options(
        subjects=arguments.subjects,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        connections=arguments.connections,
        gateway_core=arguments.gateway_core,
        load_core=arguments.load_core,
        streams=arguments.streams,
        megabytes=arguments.megabytes,
        folder=folder,
        settings=dict(arguments.set),
    )


def _subjects(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(STARTERS):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    return names


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _setting(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError("expected NAME=VALUE")
    return name, value


if __name__ == "__main__":
    sys.exit(main())
