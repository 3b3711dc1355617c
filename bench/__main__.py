"""Command line of the benchmark: `python -m bench unary --subjects nginx,plain,gateway`."""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench import profiler
from bench.load.wrk import LoadError
from bench.options import Options
from bench.report import Report
from bench.scenarios import bodies, growth, memory, startup, streams, unary
from bench.servers import StartError
from bench.subjects import STARTERS

RESULTS = Path(__file__).with_name("results")
PROFILE = "profile"
SCENARIOS: dict[str, Callable[[Options], Report]] = {
    "unary": unary.run,
    "stream-burst": streams.burst,
    "stream-paced": streams.paced,
    "first-event": streams.first_event,
    "big-body": bodies.run,
    "slow-readers": streams.slow_readers,
    "memory": memory.run,
    "startup": startup.run,
    "growth": growth.run,
}


def main() -> int:
    """Run the scenarios asked for, one after the other; print a table and write a file for each."""
    arguments = _parser().parse_args()
    missing = [tool for tool in ("nginx", "wrk", "taskset") if not shutil.which(tool)]
    if missing or not sys.platform.startswith("linux"):
        print(f"needs Linux and {', '.join(missing) or 'its /proc'}; see bench/README.md", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {arguments.load_core})  # the other core is the gateway's alone
    first, *others = arguments.scenarios
    try:
        for scenario in others if first == PROFILE else arguments.scenarios:
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                options = _options(arguments, Path(folder))
                if first == PROFILE:
                    _profile(scenario, options, arguments)
                else:
                    _measure(scenario, options, arguments)
    except (LoadError, StartError, LookupError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _measure(scenario: str, options: Options, arguments: argparse.Namespace) -> None:
    report = SCENARIOS[scenario](options)
    print(f"\n{report.table()}\n-> {report.write(arguments.results)}", flush=True)


def _profile(scenario: str, options: Options, arguments: argparse.Namespace) -> None:
    stacks = arguments.results / f"profile-{scenario}-{time.strftime('%Y%m%d-%H%M%S')}.txt"
    subject = arguments.target.split()[0]
    print(profiler.run(replace(options, subjects=[subject]), scenario, arguments.target, stacks))
    print(f"-> {stacks}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        usage="%(prog)s [profile] scenario [scenario ...] [options]",
        description="Each figure is the median (and the best) of all rounds; see bench/README.md.",
    )
    names = [PROFILE, *SCENARIOS]
    parser.add_argument("scenarios", nargs="+", choices=names, metavar="scenario", help=", ".join(SCENARIOS))
    parser.add_argument("--subjects", type=_subjects, default="nginx,plain,gateway", help=", ".join(STARTERS))
    parser.add_argument("--target", default="gateway /v1", help="what to profile: a row of the table")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each subject, interleaved")
    parser.add_argument("--seconds", type=float, default=4, help="length of a round of load")
    parser.add_argument("--connections", type=int, default=32, help="concurrent callers under load")
    parser.add_argument("--streams", type=_numbers, default="200,400,600,800", help="steps of held streams")
    parser.add_argument("--megabytes", type=int, default=30, help="size of the big body")
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the grown ledger")
    parser.add_argument("--gateway-core", type=int, default=1, help="CPU core of the subject")
    parser.add_argument("--load-core", type=int, default=0, help="CPU core of load and upstream")
    parser.add_argument(
        "--set",
        type=_setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an environment variable for the gateway, e.g. LOG_LEVEL=WARNING",
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
        rows=arguments.rows,
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
