"""Tracing by OpenTelemetry: off unless `OTEL_*` says otherwise, and then nothing of it is loaded.

The names are those of the OpenTelemetry specification
(https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/); docs/tracing.md and
docs/adr/0009 tell what is traced and why.
"""

import os
from typing import TYPE_CHECKING

from pydantic import SecretStr

from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.tracing.spans import Tracing

PREFIX = "otel_"


def wanted(settings: Settings) -> bool:
    """Whether the settings switch tracing on: an exporter is named, or an address to export to."""
    if settings.otel_sdk_disabled or settings.otel_traces_exporter == "none":
        return False
    return settings.otel_traces_exporter is not None or settings.otel_exporter_otlp_endpoint is not None


def open_tracing(settings: Settings, upstream_url: str) -> "Tracing | None":
    """Tracing as the settings want it, None when it is off.

    Args:
        settings: the operator's.
        upstream_url: where calls go; its host is an attribute of their spans.
    """
    if not wanted(settings):
        return None
    _put_into_environment(settings)
    from gateway.tracing.spans import Tracing  # noqa: PLC0415 - OpenTelemetry, which only this setting needs

    return Tracing(upstream_url, console=settings.otel_traces_exporter == "console")


def _put_into_environment(settings: Settings) -> None:
    """Say to OpenTelemetry, which reads the environment alone, what came from `.env` or a file as well."""
    for field in type(settings).model_fields:
        if field.startswith(PREFIX):
            value = getattr(settings, field)
            if value is None:
                os.environ.pop(field.upper(), None)  # an empty variable counts as unset
            else:
                text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
                os.environ[field.upper()] = text
