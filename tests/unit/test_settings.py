"""Every faulty file in testdata/config meets its exact message; a good one gives the values it names."""

from base64 import b64encode
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from gateway.settings import NAMES, Settings, SettingsError, load

CONFIG = Path(__file__).parent.parent / "testdata" / "config"
CANARY = "canary"

FAULTS = {
    "admin-key-short": ["GATEWAY_ADMIN_KEY: must have at least 32 characters, has 31"],
    "api-key-empty": ["ANTHROPIC_API_KEY: is required, unless UPSTREAM=sandbox"],
    "api-key-twice": ["ANTHROPIC_API_KEY: is set twice, here and by ANTHROPIC_API_KEY_FILE"],
    "api-key-file-missing": [
        "ANTHROPIC_API_KEY: the file secrets/none cannot be read: No such file or directory"
    ],
    "api-key-file-folder": ["ANTHROPIC_API_KEY: the file secrets cannot be read: Is a directory"],
    "api-key-file-empty": ["ANTHROPIC_API_KEY: the file secrets/empty is empty"],
    "api-key-file-binary": ["ANTHROPIC_API_KEY: the file secrets/binary cannot be read: it is not UTF-8"],
    "api-key-line-break": ["ANTHROPIC_API_KEY: must be printable ASCII without a blank at either end"],
    "base-url-scheme": ["ANTHROPIC_BASE_URL: must begin with https:// or http://"],
    "base-url-password": ["ANTHROPIC_BASE_URL: must hold no user, password, query or fragment"],
    "base-url-no-host": ["ANTHROPIC_BASE_URL: must name a host"],
    "boolean": ["METRICS_PUBLIC: must be a valid boolean, not perhaps"],
    "budget-negative": ["DEFAULT_USD_PER_DAY: must be greater than 0, not -5"],
    "budget-zero": ["DEFAULT_USD_PER_MONTH: must be greater than 0, not 0"],
    "choice": [
        "UPSTREAM: must be 'anthropic' or 'sandbox', not openai",
        "NATIVE_VALIDATION: must be 'observe' or 'enforce', not off",
        "RESPONSE_VALIDATION: must be 'observe', 'enforce' or 'off', not no",
        "LOG_LEVEL: must be 'DEBUG', 'INFO', 'WARNING' or 'ERROR', not LOUD",
        "LOG_FORMAT: must be 'json' or 'text', not xml",
    ],
    "cors-path": ["CORS_ORIGINS: https://b.example.com/ is no origin such as https://app.example.com"],
    "database-scheme": ["DATABASE_URL: must begin with postgresql+DRIVER:// or sqlite://"],
    "limit-zero": ["DEFAULT_CONCURRENCY: must be greater than or equal to 1, not 0"],
    "many": [
        "ANTHROPIC_API_KEY: is required, unless UPSTREAM=sandbox",
        "ANTHROPIC_TIMEOUT: must be a finite number, not nan",
        "ANTHROPIC_MAX_RETRIES: must be greater than or equal to 0, not -1",
        "WORKERS: must be a valid integer, not none",
        "BUDGET_TIMEZONE: Mars/Olympus is no time zone such as Europe/Berlin",
    ],
    "misspelt": [
        "DEFAULT_USD_PER_DAYS: is unknown; did you mean DEFAULT_USD_PER_DAY?",
        "default_usd_per_month: is unknown; did you mean DEFAULT_USD_PER_MONTH?",
    ],
    "url-port": [
        "ANTHROPIC_BASE_URL: must name a port from 0 to 65535, or none",
        "RATE_LIMIT_STORAGE: must name a port from 0 to 65535, or none",
    ],
    "port": ["PORT: must be less than or equal to 65535, not 65536"],
    "proxies-host-bits": ["TRUSTED_PROXIES: 10.0.0.1/8 has host bits set"],
    "storage-scheme": ["RATE_LIMIT_STORAGE: must begin with memory:// or redis:// or rediss://"],
    "timezone-folder": ["BUDGET_TIMEZONE: Europe is no time zone such as Europe/Berlin"],
    "tls-cert-missing": ["TLS_CERT_FILE: none.pem is not a file that can be read"],
    "tls-half": ["TLS_KEY_FILE: must be set together with TLS_CERT_FILE"],
    "workers-memory": [
        "RATE_LIMIT_STORAGE: must be redis:// when WORKERS is more than 1: memory:// counts in one process"
    ],
    "webhook-scheme": ["BATCH_WEBHOOK_URL: must begin with https:// or http://"],
    "webhook-secret": [
        "BATCH_WEBHOOK_URL: must name a host, and hold no user, password or fragment",
        "BATCH_WEBHOOK_SECRET: must be whsec_ and base64 of 24 to 64 random bytes",
    ],
    "webhook-unsigned": ["BATCH_WEBHOOK_SECRET: must be set together with BATCH_WEBHOOK_URL"],
    "webhook-nowhere": [
        "BATCH_RESULTS_DAYS: must be greater than or equal to 0, not -1",
        "BATCH_WEBHOOK_SECRET: must be set together with BATCH_WEBHOOK_URL",
    ],
}


@pytest.fixture(autouse=True)
def _in_config_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIG)


def faults(environ: dict[str, str], env_file: str | Path = "none.env") -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(environ, env_file)
    return list(caught.value.faults)


def test_every_faulty_file_is_in_the_table() -> None:
    assert {path.stem for path in CONFIG.glob("*.env")} == set(FAULTS)


@pytest.mark.parametrize("case", FAULTS)
def test_faulty_file(case: str) -> None:
    assert sorted(faults({}, f"{case}.env")) == sorted(FAULTS[case])


@pytest.mark.parametrize("case", FAULTS)
def test_the_environment_is_judged_like_a_file(case: str) -> None:
    lines = (CONFIG / f"{case}.env").read_text().splitlines()
    environ = {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}
    if case == "misspelt":  # other programs' variables are none of our business
        assert load(environ, "none.env").default_usd_per_day is None
    elif case != "api-key-line-break":  # an escape is an env file's matter
        assert sorted(faults(environ)) == sorted(FAULTS[case])


@pytest.mark.parametrize("case", FAULTS)
def test_no_fault_quotes_a_secret(case: str) -> None:
    assert CANARY not in "\n".join(faults({}, f"{case}.env"))


def test_defaults() -> None:
    settings = load({"ANTHROPIC_API_KEY": "sk-ant-x"}, "none.env")

    assert settings.upstream == "anthropic"
    assert (settings.anthropic_base_url, settings.anthropic_timeout, settings.anthropic_max_retries) == (
        None,
        600,
        2,
    )
    assert (settings.host, settings.port, settings.workers) == ("0.0.0.0", 8000, 1)
    assert (settings.log_level, settings.log_format, settings.log_dir) == ("INFO", "json", None)
    assert settings.rate_limit_storage.get_secret_value() == "memory://"
    assert settings.budget_timezone == ZoneInfo("UTC")
    assert (settings.native_validation, settings.response_validation) == ("observe", "observe")
    assert (settings.cors_origins, settings.trusted_proxies) == ((), ())
    assert settings.shutdown_grace_seconds == 630


def test_who_does_not_call_anthropic_needs_no_key(tmp_path: Path) -> None:
    assert load({}, "none.env", calls_anthropic=False).anthropic_api_key is None

    secret = {"ANTHROPIC_API_KEY_FILE": str(tmp_path / "of another user")}
    assert load(secret, "none.env", calls_anthropic=False).anthropic_api_key is None

    with pytest.raises(SettingsError) as caught:
        load({"PORT": "x"}, "none.env", calls_anthropic=False)
    assert caught.value.faults == ("PORT: must be a valid integer, not x",)


def test_values_are_parsed() -> None:
    settings = load(
        {
            "UPSTREAM": "sandbox",
            "ANTHROPIC_BASE_URL": "http://10.0.0.5:8020/",
            "LOG_LEVEL": "debug",
            "METRICS_PUBLIC": "true",
            "DEFAULT_USD_PER_DAY": "0.10",
            "BUDGET_TIMEZONE": "Europe/Berlin",
            "CORS_ORIGINS": "https://A.example.com, http://localhost:5173",
            "TRUSTED_PROXIES": "10.0.0.0/8,::1/128",
            "WORKERS": "4",
            "RATE_LIMIT_STORAGE": "redis://cache:6379/0",
        },
        "none.env",
    )

    assert settings.anthropic_base_url == "http://10.0.0.5:8020"
    assert settings.log_level == "DEBUG"
    assert settings.metrics_public is True
    assert settings.default_usd_per_day == Decimal("0.10")
    assert settings.budget_timezone == ZoneInfo("Europe/Berlin")
    assert settings.cors_origins == ("https://a.example.com", "http://localhost:5173")
    assert settings.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1/128"))


@pytest.mark.parametrize(("length", "taken"), [(23, False), (24, True), (64, True), (65, False)])
def test_how_long_a_webhooks_secret_is(length: int, taken: bool) -> None:
    secret = "whsec_" + b64encode(bytes(length)).decode()
    environ = {
        "UPSTREAM": "sandbox",
        "BATCH_WEBHOOK_URL": "https://h.example",
        "BATCH_WEBHOOK_SECRET": secret,
    }
    if taken:
        assert load(environ, "none.env").batch_webhook_secret is not None
    else:
        assert [line.partition(":")[0] for line in faults(environ)] == ["BATCH_WEBHOOK_SECRET"]


@pytest.mark.parametrize("key", [" sk-ant-x", "sk-ant-x ", "sk-ant-é", "sk-\tant"])
def test_a_pasted_key_with_something_else(key: str) -> None:
    [fault] = faults({"ANTHROPIC_API_KEY": key})
    assert fault == "ANTHROPIC_API_KEY: must be printable ASCII without a blank at either end"


def test_the_environment_wins_over_the_file_but_an_empty_variable_does_not(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("UPSTREAM=sandbox\nPORT=9001\nHOST=127.0.0.1\n")

    settings = load({"PORT": "9002", "HOST": ""}, env_file)

    assert (settings.port, settings.host) == (9002, "127.0.0.1")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("sk-${HOME}-x", "sk-${HOME}-x"),
        ("sk-x#y", "sk-x#y"),
        ("sk-x #y", "sk-x"),
        ("'sk-x #y'", "sk-x #y"),
        ('"sk-x"', "sk-x"),
    ],
)
def test_what_a_value_in_the_file_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, read: str
) -> None:
    """As docs/settings.md says."""
    monkeypatch.setenv("HOME", "/elsewhere")
    env_file = tmp_path / ".env"
    env_file.write_text(f"ANTHROPIC_API_KEY={written}\n")

    key = load({}, env_file).anthropic_api_key

    assert key is not None
    assert key.get_secret_value() == read


def test_a_name_in_the_file_that_is_written_small_is_a_fault(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("UPSTREAM=sandbox\ndefault_usd_per_day=5\nhttp_proxy=http://proxy\nmine=1\n")

    assert faults({}, env_file) == [
        "default_usd_per_day: is unknown; did you mean DEFAULT_USD_PER_DAY?",
    ]


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM", "sandbox")
    monkeypatch.setenv("PORT", "9003")

    assert load(env_file="none.env").port == 9003


def test_an_env_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    env_file = tmp_path / "latin.env"
    env_file.write_bytes(b"UPSTREAM=sandbox\nHOST=caf\xe9\n")

    assert f"{env_file}: cannot be read: it is not UTF-8" in faults({}, env_file)


@pytest.mark.parametrize("content", ["the-key", "the-key\n", "the-key\r\n"])
def test_a_secret_may_stand_in_a_file(tmp_path: Path, content: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(content.encode())

    key = load({"ANTHROPIC_API_KEY_FILE": str(secret)}, "none.env").anthropic_api_key

    assert key is not None
    assert key.get_secret_value() == "the-key"


def test_only_one_newline_of_a_secret_file_is_dropped(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the-key\n\n")

    assert faults({"ANTHROPIC_API_KEY_FILE": str(secret)}) == [
        "ANTHROPIC_API_KEY: must be printable ASCII without a blank at either end"
    ]


def test_every_secret_has_a_file_variable(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    values = {
        "ANTHROPIC_API_KEY": "sk-ant-x",
        "ANTHROPIC_ADMIN_KEY": "sk-ant-admin-x",
        "GATEWAY_ADMIN_KEY": "g" * 32,
        "METRICS_KEY": "scrape",
        "DATABASE_URL": "postgresql+psycopg://user:password@db/gateway",
        "RATE_LIMIT_STORAGE": "rediss://:password@cache:6379",
    }
    for name, value in values.items():
        secret.write_text(value)
        settings = load({"UPSTREAM": "sandbox", f"{name}_FILE": str(secret)}, "none.env")
        assert getattr(settings, name.lower()).get_secret_value() == value


def test_both_a_key_and_the_sandbox_is_no_fault() -> None:
    assert load({"UPSTREAM": "sandbox", "ANTHROPIC_API_KEY": "sk-ant-x"}, "none.env").upstream == "sandbox"


def test_secrets_never_show() -> None:
    settings = Settings(
        anthropic_api_key=f"sk-ant-{CANARY}",  # type: ignore[arg-type]
        gateway_admin_key=CANARY * 6,  # type: ignore[arg-type]
        database_url=f"postgresql+psycopg://user:{CANARY}@db:5432/gateway?password={CANARY}",  # type: ignore[arg-type]
        rate_limit_storage=f"redis://:{CANARY}@cache:6379/1",  # type: ignore[arg-type]
        batch_webhook_url=f"https://hooks.example/{CANARY}?key={CANARY}",  # type: ignore[arg-type]
        batch_webhook_secret=f"whsec_{CANARY * 6}",  # type: ignore[arg-type]
    )

    shown = settings.redacted()

    assert CANARY not in f"{settings!r} {settings} {shown}"
    assert shown["ANTHROPIC_API_KEY"] == "**********"
    assert shown["ANTHROPIC_ADMIN_KEY"] is None
    assert shown["DATABASE_URL"] == "postgresql+psycopg://db:5432/gateway"
    assert shown["BATCH_WEBHOOK_URL"] == "https://hooks.example/…"
    assert shown["RATE_LIMIT_STORAGE"] == "redis://cache:6379/1"
    assert shown.keys() == NAMES


def test_settings_do_not_change() -> None:
    settings = Settings(upstream="sandbox")

    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]


def test_the_class_itself_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9004")

    assert Settings(upstream="sandbox").port == 8000
