"""The settings: one class, one field a variable, read once at start.

A variable has its field's name in capitals. `load` merges the environment with `.env`, reads the secrets that
stand in files (`NAME_FILE`) and reports all faults together. docs/settings.md is made from the descriptions.
"""

import difflib
import os
from base64 import b64decode
from collections.abc import Iterable, Mapping
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.faults import OperatorFault

ANTHROPIC_URL = "https://api.anthropic.com"
"""Where Anthropic's API is, unless `ANTHROPIC_BASE_URL` says otherwise."""


class SettingsError(OperatorFault):
    """The settings cannot be used.

    Args:
        faults: one line each, beginning with the variable's name; never a secret's value.
    """

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


def split_url(url: str, *schemes: str) -> SplitResult:
    """The parts of a URL.

    Raises:
        ValueError: another scheme, or an impossible port; told without the URL, which may hold a password.
    """
    parts = urlsplit(url)
    if parts.scheme not in schemes:
        raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    try:
        _ = parts.port
    except ValueError:  # whose message quotes it: it may be a piece of a password
        raise ValueError("must name a port from 0 to 65535, or none") from None
    return parts


def _base_url(url: str) -> str:
    parts = split_url(url, "https", "http")
    if not parts.hostname:
        raise ValueError("must name a host")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must hold no user, password, query or fragment")
    return url.rstrip("/")


def _database_url(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("postgresql+", "sqlite://")):
        raise ValueError("must begin with postgresql+DRIVER:// or sqlite://")
    return url


def _webhook_url(url: SecretStr) -> SecretStr:
    parts = split_url(url.get_secret_value(), "https", "http")
    if not parts.hostname or parts.username or parts.password or parts.fragment:
        raise ValueError("must name a host, and hold no user, password or fragment")
    return url


def _webhook_secret(secret: SecretStr) -> SecretStr:
    # `whsec_` and base64: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec
    prefix, _, encoded = secret.get_secret_value().partition("_")
    try:
        length = len(b64decode(encoded, validate=True)) if prefix == "whsec" else 0
    except ValueError:
        length = 0
    if not 24 <= length <= 64:
        raise ValueError("must be whsec_ and base64 of 24 to 64 random bytes")
    return secret


def _storage_url(url: SecretStr) -> SecretStr:
    split_url(url.get_secret_value(), "memory", "redis", "rediss")
    return url


def _origin(value: str) -> str:
    # What browsers send in `Origin`: scheme, host and port, nothing after (RFC 6454, section 6.2).
    value = value.lower()  # and as they write them
    if value != "*":
        parts = split_url(value, "https", "http")
        if not parts.hostname or value != f"{parts.scheme}://{parts.netloc}":
            raise ValueError(f"{value} is no origin such as https://app.example.com")
    return value


def _fits_a_header(secret: SecretStr) -> SecretStr:
    # A line end that came with a pasted key would otherwise show up as a broken request much later.
    text = secret.get_secret_value()
    if not (text.isascii() and text.isprintable() and text == text.strip()):
        raise ValueError("must be printable ASCII without a blank at either end")
    return secret


def _long_enough(secret: SecretStr) -> SecretStr:
    if len(secret) < 32:
        raise ValueError(f"must have at least 32 characters, has {len(secret)}")
    return secret


def _readable(path: Path) -> Path:
    if not (path.is_file() and os.access(path, os.R_OK)):
        raise ValueError(f"{path} is not a file that can be read")
    return path


def _zone(value: object) -> object:
    try:
        return ZoneInfo(value) if isinstance(value, str) else value
    except (OSError, ValueError, LookupError):
        raise ValueError(f"{value} is no time zone such as Europe/Berlin") from None


def _network(value: object) -> object:
    return ip_network(value) if isinstance(value, str) else value


def _split_list(value: object) -> object:
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _host_alone(url: SecretStr) -> str:
    # Many receivers are told apart by a secret in their path.
    parts = urlsplit(url.get_secret_value())
    return f"{parts.scheme}://{parts.netloc}/…"


def _without_password(url: SecretStr) -> str:
    parts = urlsplit(url.get_secret_value())
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


_SHOWN_WITHOUT_PASSWORD = PlainSerializer(_without_password, when_used="json-unless-none")

Secret = Annotated[SecretStr, AfterValidator(_fits_a_header)]
AdminKey = Annotated[Secret, AfterValidator(_long_enough)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url), _SHOWN_WITHOUT_PASSWORD]
WebhookUrl = Annotated[
    SecretStr, AfterValidator(_webhook_url), PlainSerializer(_host_alone, when_used="json-unless-none")
]
WebhookSecret = Annotated[SecretStr, AfterValidator(_webhook_secret)]
StorageUrl = Annotated[SecretStr, AfterValidator(_storage_url), _SHOWN_WITHOUT_PASSWORD]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(_split_list)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
Networks = Annotated[tuple[Network, ...], BeforeValidator(_split_list)]
TimeZone = Annotated[ZoneInfo, BeforeValidator(_zone)]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)]
ReadableFile = Annotated[Path, AfterValidator(_readable)]
Limit = Annotated[int, Field(ge=1)]
Days = Annotated[int, Field(ge=1, le=36_500)]
Dollars = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """Everything that an operator can set. Made by `load`; tests may call the class with fields directly."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    upstream: Literal["anthropic", "sandbox"] = Field(
        "anthropic",
        description="Where calls go. `sandbox` starts the embedded stand-in: no key needed, no cost.",
    )
    anthropic_api_key: Secret | None = Field(
        None, description="The Anthropic key that all apps share. Required, unless `UPSTREAM=sandbox`."
    )
    anthropic_admin_key: Secret | None = Field(
        None,
        description="Anthropic's admin key, for `/v1/organizations/*`. Without it those paths answer 403.",
    )
    anthropic_base_url: BaseUrl | None = Field(
        None, description="Another address for Anthropic's API. The SDK's default when unset."
    )
    anthropic_timeout: float = Field(
        600,
        gt=0,
        allow_inf_nan=False,
        description="Seconds that a JSON answer may take as a whole once the body is sent; for a stream, and"
        " while a large body is sent, the longest silence.",
    )
    anthropic_max_retries: int = Field(
        2,
        ge=0,
        description="Retries of a failed upstream call. Envelope only: native callers retry for themselves.",
    )
    host: str = Field("0.0.0.0", description="Address to listen on.")  # noqa: S104 - a container's port mapping decides
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    workers: int = Field(
        1,
        ge=1,
        description="Server processes. More than one needs a `RATE_LIMIT_STORAGE` that they can share.",
    )
    tls_cert_file: ReadableFile | None = Field(
        None,
        description="Certificate chain (PEM). None: plain HTTP, for a trusted LAN or behind a proxy.",
    )
    tls_key_file: ReadableFile | None = Field(None, description="Private key (PEM) of the certificate.")
    gateway_admin_key: AdminKey | None = Field(
        None,
        description="The first `gateway:admin` key, any secret of at least 32 characters. "
        "When unset, one is made at first start and written to `DATA_DIR/admin-key`.",
    )
    data_dir: Path = Field(
        Path("data"), description="Folder for the database and everything else that must last."
    )
    config_dir: Path = Field(
        Path("config"), description="Folder for the operator's own files, such as a price override."
    )
    database_url: DatabaseUrl | None = Field(
        None, description="Database shared by several replicas. An SQLite file in `DATA_DIR` when unset."
    )
    rate_limit_storage: StorageUrl = Field(
        SecretStr("memory://"),
        description="Where limits are counted: `memory://`, or `redis://` for several processes.",
    )
    default_requests_per_minute: Limit | None = Field(
        None, description="Requests a minute for keys that name no limit of their own."
    )
    default_input_tokens_per_minute: Limit | None = Field(
        None, description="Input tokens a minute, likewise. Cache reads are free."
    )
    default_output_tokens_per_minute: Limit | None = Field(
        None, description="Output tokens a minute, likewise."
    )
    default_concurrency: Limit | None = Field(None, description="Calls at a time, likewise.")
    default_usd_per_day: Dollars | None = Field(None, description="Dollars a day, likewise.")
    default_usd_per_month: Dollars | None = Field(None, description="Dollars a month, likewise.")
    budget_timezone: TimeZone = Field(
        ZoneInfo("UTC"), description="Time zone in which a budget's day and month begin."
    )
    ledger_retention_days: Days = Field(
        400,
        description="Days that the ledger keeps a row for each call. The sums by day stay for good.",
    )
    audit_retention_days: Days = Field(400, description="Days that the audit trail is kept.")
    async_message_retention_days: Days = Field(
        7, description="Days that an asynchronous message and its answer are kept after it has ended."
    )
    async_message_concurrency: Limit = Field(
        32,
        description="Asynchronous messages that a process runs at a time, of all keys together.",
    )
    async_message_queue: Limit = Field(
        1000, description="Asynchronous messages of one key that may wait; more are refused with 429."
    )
    snapshot_retention_days: Days = Field(
        90,
        description="Days that upgrades' copies of the database are kept; the latest one stays.",
    )
    batch_results_days: int = Field(
        90,
        ge=0,
        le=36_500,
        description="Days that the results of batches are kept here, counted from when they ended; Anthropic "
        "keeps them for 29. `0` keeps none.",
    )
    batch_webhook_url: WebhookUrl | None = Field(
        None, description="Where a signed message is posted when a batch has ended."
    )
    batch_webhook_secret: WebhookSecret | None = Field(
        None, description="What signs it, as Standard Webhooks has it: `whsec_` and base64 of 24 to 64 bytes."
    )
    batch_webhook_private: bool = Field(
        default=False,
        description="Whether the webhook may be at an address of the own network or machine.",
    )
    native_validation: Literal["observe", "enforce"] = Field(
        "observe",
        description="A native request that breaks the spec: `observe` counts, logs and relays it; "
        "`enforce` refuses it.",
    )
    response_validation: Literal["observe", "enforce", "off"] = Field(
        "observe",
        description="An answer that breaks the spec: `observe` counts, logs and delivers it; "
        "`enforce`, for tests, makes it a 500; `off` does not look.",
    )
    log_level: LogLevel = Field("INFO", description="`DEBUG`, `INFO`, `WARNING` or `ERROR`.")
    log_format: Literal["json", "text"] = Field(
        "json", description="`json`, one object a line, or `text` for eyes."
    )
    log_dir: Path | None = Field(
        None, description="Folder for log files. Logs go to stdout alone when unset."
    )
    otel_sdk_disabled: bool = Field(
        default=False, description="`true` switches tracing off whatever else is set."
    )
    otel_traces_exporter: Literal["otlp", "console", "none"] | None = Field(
        None,
        description="`otlp` sends spans to a collector, `console` prints them. None: tracing is off, unless "
        "`OTEL_EXPORTER_OTLP_ENDPOINT` is set.",
    )
    otel_exporter_otlp_endpoint: BaseUrl | None = Field(
        None, description="The collector's address. `http://localhost:4318` when unset."
    )
    otel_exporter_otlp_protocol: Literal["http/protobuf"] = Field(
        "http/protobuf", description="How spans travel: the one way that this gateway knows."
    )
    otel_exporter_otlp_headers: Secret | None = Field(
        None, description="Headers for the collector, such as its key: `name=value,name=value`."
    )
    otel_service_name: str = Field("anthropic-gateway", description="What the gateway is called in traces.")
    otel_resource_attributes: str | None = Field(
        None, description="More about this gateway in traces: `deployment.environment=home,…`."
    )
    otel_traces_sampler: Literal[
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ] = Field("parentbased_always_on", description="Which requests are traced.")
    otel_traces_sampler_arg: float | None = Field(
        None, ge=0, le=1, description="The share of traces that the two `traceidratio` samplers take."
    )
    metrics_public: bool = Field(default=False, description="Whether `/metrics` answers without a key.")
    metrics_key: Secret | None = Field(
        None, description="A key that opens `/metrics` and nothing else. A `gateway:admin` key always does."
    )
    cors_origins: Origins = Field(
        (), description="Origins whose pages may call the gateway, separated by commas, or `*`."
    )
    trusted_proxies: Networks = Field(
        (), description="Networks whose `X-Forwarded-*` headers are believed, as CIDRs separated by commas."
    )
    max_inflight_requests: int = Field(
        1000,
        ge=1,
        description="Requests that a process serves at a time; more get a 503 with `retry-after` at once.",
    )
    caller_timeout: float = Field(
        300,
        gt=0,
        allow_inf_nan=False,
        description="Seconds that a caller may stand still while it sends a request, or takes nothing of its "
        "answer. The head of a request gets 30 at most.",
    )
    shutdown_grace_seconds: float = Field(
        630, ge=0, allow_inf_nan=False, description="Seconds that running calls get to finish after SIGTERM."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing but the arguments: `load` has gathered the variables, and tests stay hermetic."""
        return (init_settings,)

    # A rule between two fields stands on the later one, which sees the earlier ones that are valid. A model
    # validator would run only when all are, and the operator would meet the faults in two rounds.

    @field_validator("tls_key_file")
    @classmethod
    def _tls_needs_both(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if "tls_cert_file" in info.data and (key is None) != (info.data["tls_cert_file"] is None):
            raise ValueError("must be set together with TLS_CERT_FILE")
        return key

    @field_validator("batch_webhook_secret")
    @classmethod
    def _webhook_needs_both(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if "batch_webhook_url" in info.data and (secret is None) != (info.data["batch_webhook_url"] is None):
            raise ValueError("must be set together with BATCH_WEBHOOK_URL")
        return secret

    @field_validator("rate_limit_storage")
    @classmethod
    def _processes_share_limits(cls, storage: SecretStr, info: ValidationInfo) -> SecretStr:
        if storage.get_secret_value().startswith("memory:") and info.data.get("workers", 1) > 1:
            raise ValueError("must be redis:// when WORKERS is more than 1: memory:// counts in one process")
        return storage

    def redacted(self) -> dict[str, Any]:
        """Return the effective values by variable, fit for JSON and for other eyes: secrets are masked."""
        return {name.upper(): value for name, value in self.model_dump(mode="json").items()}


def _is_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(_is_secret(part) for part in get_args(annotation))


NAMES = frozenset(name.upper() for name in Settings.model_fields)
SECRETS = frozenset(
    name.upper() for name, field in Settings.model_fields.items() if _is_secret(field.annotation)
)
VARIABLES = NAMES | {f"{name}_FILE" for name in SECRETS}

_KEY = "ANTHROPIC_API_KEY"


def load(
    environ: Mapping[str, str] | None = None, env_file: str | Path = ".env", *, calls_anthropic: bool = True
) -> Settings:
    """Read the settings from the environment and an env file; the environment wins.

    Args:
        environ: variables; the process's own when left out.
        env_file: a file of `NAME=value` lines, in which nothing is filled in; it need not exist.
        calls_anthropic: whether Anthropic's key must be there, unless the sandbox is the upstream. Where it
            is not needed it is not even read: who may run a report need not be allowed to see it.

    Raises:
        SettingsError: with one line for each fault, all of them.
    """
    environ = os.environ if environ is None else environ
    lines, faults = _read_env_file(Path(env_file))
    variables = {**lines, **{name: value for name, value in environ.items() if value}}
    if not calls_anthropic:
        variables = {name: value for name, value in variables.items() if not name.startswith(_KEY)}
    secrets, unreadable = _read_secret_files(variables)
    faults |= unreadable
    values = {name: variables[name] for name in NAMES & variables.keys()} | secrets
    if calls_anthropic and _KEY not in values and values.get("UPSTREAM", "anthropic") == "anthropic":
        faults.setdefault(_KEY, "is required, unless UPSTREAM=sandbox")
    try:
        settings = Settings(**{name.lower(): value for name, value in values.items()})  # type: ignore[arg-type]
    except ValidationError as error:
        for detail in error.errors():
            name = str(detail["loc"][0]).upper()
            faults.setdefault(name, _reason(name, detail))
    if faults:
        raise SettingsError(f"{name}: {reason}" for name, reason in faults.items())
    return settings


def _read_env_file(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return the file's variables that have a value, and its faults by name.

    A name that nearly is one of ours is a fault: a misspelt limit would be no limit. Only here: the process's
    environment is shared with other programs.
    """
    try:
        lines = dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        return {}, {str(path): f"cannot be read: {_cause(error)}"}
    faults = {}
    for name in lines.keys() - VARIABLES:
        if near := difflib.get_close_matches(name.upper(), VARIABLES, n=1, cutoff=0.9):
            faults[name] = f"is unknown; did you mean {near[0]}?"
    return {name: value for name, value in lines.items() if value}, faults


def _read_secret_files(variables: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the secrets named by a `NAME_FILE` variable, and the faults by the secret's name."""
    secrets: dict[str, str] = {}
    faults: dict[str, str] = {}
    for name in sorted(SECRETS):
        path = variables.get(f"{name}_FILE")
        if path is None:
            continue
        if name in variables:
            faults[name] = f"is set twice, here and by {name}_FILE"
            continue
        try:
            secrets[name] = Path(path).read_text(encoding="utf-8").removesuffix("\n")
        except (OSError, UnicodeDecodeError) as error:
            faults[name] = f"the file {path} cannot be read: {_cause(error)}"
            continue
        if not secrets[name]:
            faults[name] = f"the file {path} is empty"
    return secrets, faults


def _cause(error: OSError | UnicodeDecodeError) -> str:
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error.strerror)


def _reason(name: str, detail: ErrorDetails) -> str:
    """Put a validation error in the words of an operator. A secret is never quoted."""
    if detail["type"] == "value_error":  # one of the validators above, which choose their own words
        return detail["msg"].removeprefix("Value error, ")
    reason = detail["msg"].replace("Input should be", "must be").partition(", unable to")[0]
    return reason if name in SECRETS else f"{reason}, not {detail['input']}"
