"""Log lines: their form, and what they never hold."""

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway import logs
from gateway.call import Call
from gateway.logs import JsonFormatter, RequestLog, TextFormatter, configure
from gateway.settings import Settings

SECRET = "secret-1f2e"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """The root logger's handlers and all levels are put back after each test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logs.TALKATIVE}
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        if handler not in handlers:
            handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def settings(**fields: Any) -> Settings:
    return Settings(upstream="sandbox", **fields)


def failed() -> logging.LogRecord:
    try:
        int(SECRET)
    except ValueError as error:
        return logging.makeLogRecord(
            {
                "name": "gateway.errors",
                "levelname": "ERROR",
                "msg": "Request %s",
                "args": ("failed",),
                "exc_info": (type(error), error, error.__traceback__),
                "request_id": "req_1",
            }
        )


def test_json_line_of_an_exception() -> None:
    line = json.loads(JsonFormatter().format(failed()))

    assert list(line) == ["timestamp", "level", "event", "logger", "request_id", "exception", "frames"]
    assert (line["event"], line["exception"], line["request_id"]) == ("Request failed", "ValueError", "req_1")
    assert line["frames"][0].endswith(" failed")
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_no_message_of_an_exception(formatter: logging.Formatter) -> None:
    """It may quote its input."""
    line = formatter.format(failed())

    assert SECRET not in line
    assert "\n" not in line
    assert "ValueError" in line


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR"])
def test_libraries_stay_above_debug(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_LOG", "debug")

    configure(settings(log_level=level))

    for name in ("anthropic", "anthropic._base_client", "httpx2", "aiohttp.client", "connexion"):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO)
    assert logging.getLogger("gateway").isEnabledFor(getattr(logging, level))


def call(status: int = 200, **members: Any) -> Call:
    known = {
        "status": status,
        "method": "POST",
        "path": b"/v1/m\xe9ssages",
        "elapsed": 1.2345,
        "request_id": "req_1",
        "upstream_request_id": "req_u",
        "operation": SimpleNamespace(id="messages_create", metered=True),
        "key": SimpleNamespace(name="kit\nchen"),
        "usage": None,
        "cost_nanodollars": None,
        "trace": None,
    }
    return cast(Call, SimpleNamespace(**{**known, **members}))


async def written(log: RequestLog, capsys: pytest.CaptureFixture[str], *calls: Call) -> str:
    for one in calls:
        log.write(one, "claude-opus-5")
    await asyncio.sleep(logs.FLUSH_SECONDS * 2)
    return capsys.readouterr().out


async def test_request_lines(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = settings()
    configure(chosen)

    out = await written(RequestLog(chosen), capsys, call(), call(404), call(503))

    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["level"] for line in lines] == ["INFO", "WARNING", "ERROR"]
    assert lines[0]["process_time"] == "1.234s"
    assert lines[0]["url"] == "/v1/m\u00e9ssages"
    assert lines[0]["key"] == "kit\nchen"
    assert lines[0]["cost_usd"] is None


async def test_cost_to_the_nano_dollar(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = settings()
    configure(chosen)

    out = await written(RequestLog(chosen), capsys, call(cost_nanodollars=1_000_000_001))

    assert json.loads(out)["cost_usd"] == "1.000000001"


async def test_tokens_of_a_request_line(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = settings()
    configure(chosen)
    total = SimpleNamespace(
        input_tokens=1,
        output_tokens=2,
        cache_read_tokens=3,
        cache_write_5m_tokens=4,
        cache_write_1h_tokens=50,
    )

    line = json.loads(await written(RequestLog(chosen), capsys, call(usage=SimpleNamespace(total=total))))

    members = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    assert [line[member] for member in members] == [1, 2, 3, 54]


@pytest.mark.parametrize(
    ("status", "level"), [(200, "INFO"), (400, "WARNING"), (499, "WARNING"), (500, "ERROR")]
)
async def test_level_of_a_status(status: int, level: str, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = settings()
    configure(chosen)

    assert json.loads(await written(RequestLog(chosen), capsys, call(status)))["level"] == level


def test_a_moment_has_three_digits_after_its_seconds() -> None:
    assert logs.timestamp(1.0078125) == "1970-01-01T00:00:01.007Z"


async def test_level_of_request_lines(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = settings(log_level="WARNING")
    configure(chosen)

    out = await written(RequestLog(chosen), capsys, call(200), call(404))

    assert len(out.splitlines()) == 1


async def test_text_line(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = settings(log_format="text")
    configure(chosen)

    out = await written(RequestLog(chosen), capsys, call())

    assert "POST /v1/m\u00e9ssages 200 1.234s request_id=req_1" in out
    assert "cost_usd" not in out


async def test_files_are_rotated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LOG_FILE_BYTES", 2_000)
    chosen = settings(log_dir=tmp_path / "logs")
    configure(chosen)
    log = RequestLog(chosen)

    for _ in range(4):
        out = await written(log, capsys, *[call()] * 4)

    files = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert files[:2] == ["gateway.log", "gateway.log.1"]
    for path in (tmp_path / "logs").iterdir():
        assert path.stat().st_size < 4_000
        for line in path.read_text().splitlines():
            assert json.loads(line)["event"] == "Request completed"
    assert len(out.splitlines()) == 4


async def test_the_file_has_each_line_although_stdout_is_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with `python main.py | tee`, once `tee` has ended."""

    def refuse(_: str) -> int:
        raise BrokenPipeError

    monkeypatch.setattr("sys.stdout.write", refuse)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    chosen = settings(log_dir=tmp_path)
    configure(chosen)

    await written(RequestLog(chosen), capsys, call(200), call(404))

    assert len((tmp_path / "gateway.log").read_text().splitlines()) == 2
