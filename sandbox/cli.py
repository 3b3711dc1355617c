"""The sandbox as a program of its own."""

import argparse
import asyncio
import gc
import signal
import sys
from collections.abc import Sequence

from sandbox.server import new_event_loop, serve
from sandbox.settings import Settings


def cli(args: Sequence[str] | None = None) -> int:
    """Serves until SIGINT or SIGTERM; returns the exit status.

    Args:
        args: the command line without the program's name; by default the process's own.
    """
    options = _parser().parse_args(args)
    settings = Settings(
        slow_seconds=options.slow_seconds,
        silence_seconds=options.silence_seconds,
        pace_seconds=options.pace_seconds,
        batch_seconds=options.batch_seconds,
    )
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_serve(options.host, options.port, settings))
    except OSError as error:
        sys.stderr.write(f"sandbox: cannot listen on {options.host}:{options.port}: {error.strerror}\n")
        return 1
    return 0


async def _serve(host: str, port: int, settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with serve(host, port, settings=settings) as url:
        gc.collect()
        gc.freeze()  # what is there now stays: the collector need not look at it again
        sys.stdout.write(f"Sandbox of the Anthropic API on {url}\n")
        sys.stdout.flush()
        await stop.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sandbox", description="Plays the Anthropic API: no key needed, no model asked, nothing costs."
    )
    defaults = Settings()
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8020, help="TCP port, 0 for a free one (%(default)s)")
    for name, text in (
        ("slow", "wait before the first byte in scenario slow"),
        ("silence", "silence in scenario silent"),
        ("pace", "wait between events in scenario slow-stream"),
        ("batch", "time that a batch takes"),
    ):
        parser.add_argument(
            f"--{name}-seconds",
            type=float,
            default=getattr(defaults, f"{name}_seconds"),
            help=f"{text} (%(default)s)",
        )
    return parser
