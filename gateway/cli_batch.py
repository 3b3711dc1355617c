"""The command line's `batch wait`: watch a batch of a running gateway until it has ended."""

import http.client
import json
import ssl
import time
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from gateway.cli_commands import Commands, settings_of
from gateway.cli_files import PIPE, output
from gateway.cli_output import Progress, print_json, size
from gateway.faults import OperatorFault
from gateway.healthcheck import own_url, unverified
from gateway.settings import Settings, split_url

SECONDS = 60.0
"""How long each step of a call may take."""

AWAY = 3600.0
"""Seconds for which a gateway that has answered may be away, or Anthropic: a batch takes up to a day."""

PIECE = 1 << 16

_PASSING = frozenset({408, 429})


class BatchError(OperatorFault):
    """The gateway does not answer, or refuses."""


class _UnavailableError(BatchError):
    """It may do better at the next look."""


class _BrokenOffError(Exception):
    """An answer has ended before its end."""


def add_to(commands: Commands) -> None:
    """Add `batch` and its own commands to those of the program.

    Args:
        commands: where the program's commands are listed.
    """
    parser = commands.add_parser("batch", help="wait for a batch, and fetch its results")
    own = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    command = own.add_parser(
        "wait", help="wait until a batch has ended", description="Wait until a batch has ended."
    )
    command.add_argument("batch", metavar="BATCH_ID")
    command.add_argument(
        "--output", metavar="FILE", help="then write its results there, a line each; - for stdout"
    )
    command.add_argument(
        "--every", type=_seconds, default=30.0, metavar="SECONDS", help="look so often (default: 30)"
    )
    command.add_argument(
        "--url", type=_address, help="the gateway (default: the one on this machine, by HOST and PORT)"
    )
    command.add_argument(
        "--key-file", type=Path, metavar="FILE", help="a key with the scope batches (default: the admin key)"
    )
    command.add_argument("--json", action="store_true", help="print the batch as JSON")
    command.set_defaults(run=wait)


def wait(options: Namespace) -> int:
    """Look at the batch until it has ended; fetch the results."""
    settings = settings_of(options)
    gateway = _Gateway(
        options.url or _own_url(settings), _key(settings, options.key_file), local=not options.url
    )
    path = f"/api/v1/batches/{quote(options.batch, safe='')}"
    batch = _ended(gateway, path, options.every)
    written = None
    if options.output is not None:
        with Progress("Results") as progress:
            written = gateway.download(f"{path}/results", options.output, progress)
        if options.output == PIPE:
            return 0
    if options.json:
        results = {} if written is None else {"results": {"path": options.output, "bytes": written}}
        print_json({**batch, **results})
        return 0
    counts = ", ".join(
        f"{count} {name}" for name, count in (batch.get("request_counts") or {}).items() if count
    )
    print(f"{options.batch} has ended: {counts or 'no requests'}.")
    if written is not None:
        print(f"{options.output}: {size(written)}")
    return 0


def _ended(gateway: "_Gateway", path: str, every: float) -> dict[str, Any]:
    """The batch, once it has ended. A gateway that is not there from the beginning is not waited for."""
    batch, answered = gateway.get(path), time.monotonic()
    with Progress("Batch") as progress:
        while batch.get("processing_status") != "ended":
            counts = batch.get("request_counts") or {}
            total = sum(counts.values())
            progress.count(total - counts.get("processing", 0), total)
            time.sleep(every)
            try:
                batch, answered = gateway.get(path), time.monotonic()
            except _UnavailableError:
                if time.monotonic() - answered > AWAY:
                    raise
    return batch


class _Gateway:
    """Calls a gateway.

    Args:
        url: where it is.
        key: a key of it.
        local: it is on this machine: its certificate names another address and is not checked.
    """

    def __init__(self, url: str, key: str, *, local: bool) -> None:
        self._url = urlsplit(url)
        self._key = key
        self._local = local

    def get(self, path: str) -> dict[str, Any]:
        """The `data` of an answer.

        Raises:
            BatchError: the gateway does not answer, or refuses.
        """
        connection, response = self._send(path, {})
        try:
            data: dict[str, Any] = json.loads(response.read())["data"]
        except (ValueError, KeyError, OSError, http.client.HTTPException) as fault:
            raise _UnavailableError(f"what answers at {self._url.netloc} is no gateway") from fault
        finally:
            connection.close()
        return data

    def download(self, path: str, target: str, progress: Progress) -> int:
        """Write an answer to a file, or to stdout for `-`, as it comes.

        Returns:
            How many bytes.

        Raises:
            BatchError: as `get`, or the answer breaks off.
        """
        connection, response = self._send(path, {"accept": "application/x-jsonl"})
        written = 0
        try:
            with output(target) as file:
                for piece in _pieces(response):
                    written += file.write(piece)
                    progress.add_bytes(len(piece))
        except _BrokenOffError as fault:
            kept = "" if target == PIPE else "; nothing was written"
            raise BatchError(f"the results broke off{kept}") from fault
        finally:
            connection.close()
        return written

    def _send(
        self, path: str, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = self._connection()
        try:
            connection.request(
                "GET", self._url.path.rstrip("/") + path, headers={"x-api-key": self._key, **headers}
            )
            response = connection.getresponse()
            if response.status == http.client.OK:
                return connection, response
            message = _message(response)
        except (OSError, http.client.HTTPException) as fault:
            connection.close()
            raise _UnavailableError(f"the gateway at {self._url.netloc} does not answer: {fault}") from fault
        connection.close()
        passing = response.status in _PASSING or response.status >= 500
        raise (_UnavailableError if passing else BatchError)(
            f"the gateway refuses (status {response.status}): {message}"
        )

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme != "https":
            return http.client.HTTPConnection(host, port, timeout=SECONDS)
        context = unverified() if self._local else ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=SECONDS, context=context)


def _pieces(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body as it comes.

    Raises:
        _BrokenOffError: before its end. What fails as a piece is written is another matter.
    """
    try:
        while piece := response.read(PIECE):
            yield piece
    except (http.client.HTTPException, ssl.SSLError, ConnectionError, TimeoutError) as fault:
        raise _BrokenOffError from fault
    if response.length:  # read in pieces, a body that is too short is no fault to http.client
        raise _BrokenOffError


def _message(response: http.client.HTTPResponse) -> str:
    try:
        return str(json.loads(response.read(PIECE))["error"])
    except (ValueError, KeyError, TypeError):
        return response.reason


def _own_url(settings: Settings) -> str:
    return own_url(settings.host, settings.port, tls=settings.tls_cert_file is not None)


def _key(settings: Settings, file: Path | None) -> str:
    if file is not None:
        return file.read_text("utf-8").strip()
    if settings.gateway_admin_key is not None:
        return settings.gateway_admin_key.get_secret_value()
    return (settings.data_dir / "admin-key").read_text("utf-8").strip()


def _address(text: str) -> str:
    try:
        url = split_url(text, "https", "http")
        usable = bool(url.hostname) and url.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ArgumentTypeError(f"{text} is no address such as http://nas:8090")
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 86_400:
        raise ArgumentTypeError(f"{text} is no number of seconds")
    return seconds
