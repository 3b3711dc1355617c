"""Logs: one JSON object a line, or plain text; never a secret, a prompt or an answer.

The line of a request has a fixed list of members. What the libraries beneath would log at DEBUG holds whole
bodies, so they stay above it whatever is asked for, and the message of an unforeseen exception is left out:
it may quote its input.
"""

import asyncio
import functools
import json
import logging
import logging.handlers
import sys
import time
import traceback
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Literal

from gateway.call import Call
from gateway.prices import dollars
from gateway.settings import Settings
from gateway.usage import Sampling

FLUSH_SECONDS = 0.05
LOG_FILE = "gateway.log"
LOG_FILE_BYTES = 20_000_000
LOG_FILES = 5
TALKATIVE = (
    "aiohttp",
    "alembic",
    "anthropic",
    "asyncio",
    "connexion",
    "httpcore2",
    "httpx",
    "httpx2",
    "openapi_spec_validator",
    "opentelemetry",
    "urllib3",
)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def timestamp(seconds: float | None = None) -> str:
    """A moment in RFC 3339, UTC, with milliseconds; now unless POSIX `seconds` are given."""
    whole, part = divmod(time.time() if seconds is None else seconds, 1)
    return f"{_second(int(whole))}.{int(part * 1000):03}Z"


@functools.lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class JsonFormatter(logging.Formatter):
    """A record as one JSON object; `extra` members follow the standard ones."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without a line end."""
        line: dict[str, Any] = {
            "timestamp": timestamp(record.created),
            "level": record.levelname,
            "event": record.getMessage(),
            "logger": record.name,
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__name__
            line["frames"] = frames(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """The same for eyes."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without a line end."""
        members = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[0]:
            members["exception"] = record.exc_info[0].__name__
            members["frames"] = frames(record.exc_info[1])
        tail = "".join(f" {name}={json.dumps(value, default=str)}" for name, value in members.items())
        return f"{timestamp(record.created)} {record.levelname:7} {record.getMessage()}{tail}"


def frames(error: BaseException | None) -> list[str]:
    """Where an exception came from: file, line and function of each frame; no message, no values."""
    if error is None:
        return []
    return [
        f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)
    ]


def configure(settings: Settings) -> None:
    """Send all records of this process to stdout, and to rotated files where LOG_DIR is set."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    if settings.log_dir is not None:
        settings.log_dir.mkdir(parents=True, exist_ok=True)
        handlers.append(
            logging.handlers.RotatingFileHandler(
                settings.log_dir / LOG_FILE, maxBytes=LOG_FILE_BYTES, backupCount=LOG_FILES, encoding="utf-8"
            )
        )
    for handler in handlers:
        handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(settings.log_level)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(settings.log_level)))
    logging.getLogger("uvicorn.error").addFilter(_no_broken_responses)


class ResponseBroken(Exception):
    """Raised to cut a connection whose answer cannot be ended properly: the caller must see that."""


def _no_broken_responses(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], ResponseBroken))


LINE = (
    "timestamp", "level", "event", "method", "url", "status_code", "process_time",
    "request_id", "upstream_request_id", "operation", "key", "model", "input_tokens", "output_tokens",
    "cache_read_input_tokens", "cache_creation_input_tokens", "cost_usd",
)  # fmt: skip
"""The members of a request's line, in this order."""

TRACED_LINE = (*LINE, "trace_id")


class RequestLog:
    """One line a request, written together a few times a second rather than one by one.

    Args:
        settings: level and form.
    """

    def __init__(self, settings: Settings) -> None:
        self._logger = logging.getLogger("gateway.requests")
        self._json = settings.log_format == "json"
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    def write(self, call: Call, model: str) -> None:
        """Take down a request that is over.

        Args:
            call: the request.
            model: the model's name, or `other`.
        """
        level = _level(call.status)
        if not self._logger.isEnabledFor(logging.getLevelName(level)):
            return
        total, operation = call.usage.total if call.usage else None, call.operation
        values: tuple[str | int | None, ...] = (
            timestamp(),
            level,
            "Request completed",
            call.method,
            call.path.decode("latin-1"),
            call.status,
            f"{call.elapsed:.3f}s",
            call.request_id,
            call.upstream_request_id,
            operation.id if operation else None,
            call.key.name if call.key else None,
            model if operation and operation.metered else None,
            *(_counts(total) if total else _NO_COUNTS),
            None if call.cost_nanodollars is None else dollars(call.cost_nanodollars),
            *(() if call.trace is None else (call.trace.trace_id,)),
        )
        self._lines.append(_as_json(values) if self._json else _as_text(values))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Write what is waiting."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lines:
            lines, self._lines = "\n".join(self._lines), []
            for handler in logging.getLogger().handlers:
                handler.acquire()
                try:
                    _write(handler, lines)
                except Exception:  # a full disk, or nobody reads stdout: the others get their lines
                    handler.handleError(logging.makeLogRecord({"msg": "The lines of requests"}))
                finally:
                    handler.release()


_NO_COUNTS = (None,) * 4


def _counts(total: Sampling) -> tuple[int, ...]:
    written = total.cache_write_5m_tokens + total.cache_write_1h_tokens
    return total.input_tokens, total.output_tokens, total.cache_read_tokens, written


def _template(names: tuple[str, ...]) -> str:
    return "{" + ", ".join(f'"{name}": %s' for name in names) + "}"


_TEMPLATES = {len(names): _template(names) for names in (LINE, TRACED_LINE)}


def _as_json(values: tuple[str | int | None, ...]) -> str:
    """A request's line; `json.dumps` of an object takes five times as long."""
    return _TEMPLATES[len(values)] % tuple(
        [quoted(value) if isinstance(value, str) else "null" if value is None else value for value in values]
    )


def _as_text(values: tuple[str | int | None, ...]) -> str:
    when, level, _, method, url, status, seconds, *rest = values
    pairs = zip(TRACED_LINE[7:], rest, strict=False)
    members = " ".join(f"{name}={value}" for name, value in pairs if value is not None)
    return f"{when} {level:7} {method} {url} {status} {seconds} {members}"


def _write(handler: logging.Handler, lines: str) -> None:
    """Hand finished lines to a handler past its formatter, with the rotation that it does."""
    if isinstance(handler, logging.handlers.RotatingFileHandler) and handler.shouldRollover(
        logging.makeLogRecord({"msg": lines})
    ):
        handler.doRollover()
    if isinstance(handler, logging.StreamHandler):
        handler.stream.write(lines + "\n")
        handler.flush()


def _level(status: int) -> Literal["INFO", "WARNING", "ERROR"]:
    if status >= 500:
        return "ERROR"
    return "WARNING" if status >= 400 else "INFO"
