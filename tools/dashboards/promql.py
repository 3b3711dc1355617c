"""Queries and panels that the pages share; the metrics are those of docs/metrics.md."""

from collections.abc import Sequence

from tools.dashboards.grafana import Panel, Query, Variable

PREFIX = "anthropic_gateway_"
JOB = 'job=~"$job"'
KEY = 'key=~"$key"'
MODEL = 'model=~"$model"'
OPERATION = 'operation=~"$operation"'
RATE = "$__rate_interval"
RANGE = "$__range"


def metric(name: str, *matchers: str) -> str:
    """A metric of the chosen gateways. Our own are called without their prefix."""
    prefix = "" if name.startswith(("gen_ai_", "process_")) else PREFIX
    return f"{prefix}{name}{{{', '.join((JOB, *matchers))}}}"


def total(expr: str, *by: str) -> str:
    """The sum, over replicas and all labels but `by`."""
    return f"sum{_by(by)} ({expr})"


def shared(name: str, *by: str, matchers: Sequence[str] = ()) -> str:
    """A value of the database, which every replica tells alike."""
    return f"max{_by(by)} ({metric(name, *matchers)})"


def _by(labels: Sequence[str]) -> str:
    return f" by ({', '.join(labels)})" if labels else ""


def ratio(part: str, whole: str) -> str:
    """One query's values divided by another's."""
    return f"{part} / {whole}"


def or_zero(expr: str) -> str:
    """Of what may not have happened yet."""
    return f"({expr} or vector(0))"


def rate(name: str, *by: str, matchers: Sequence[str] = (), window: str = RATE) -> str:
    """How fast a counter grows, a second."""
    return total(f"rate({metric(name, *matchers)}[{window}])", *by)


def growth(name: str, *by: str, matchers: Sequence[str] = (), window: str = RANGE) -> str:
    """By how much a counter has grown."""
    return total(f"increase({metric(name, *matchers)}[{window}])", *by)


def quantile(share: float, name: str, *by: str, matchers: Sequence[str] = ()) -> str:
    """The value that `share` of a histogram's observations stay below."""
    return f"histogram_quantile({share:g}, {rate(f'{name}_bucket', 'le', *by, matchers=matchers)})"


def quantiles(name: str, *matchers: str) -> list[Query]:
    """Half, 95 and 99 of a hundred."""
    shares = ((0.5, "half"), (0.95, "95 %"), (0.99, "99 %"))
    return [Query(quantile(share, name, matchers=matchers), legend) for share, legend in shares]


def variable(label: str, of: str, *, shown: str | None = None) -> Variable:
    """A choice among the values of a label of a metric."""
    return Variable(label, shown or label.capitalize(), f"label_values({of}, {label})")


GATEWAYS = variable("job", f"{PREFIX}build_info", shown="Gateway")
KEYS = variable("key", metric("tokens_total"))
MODELS = variable("model", metric("tokens_total"))
OPERATIONS = variable("operation", metric("http_requests_total"))
LONG_AGO = "It counts from the start of the gateway's process."


def stat(title: str, expr: str, unit: str = "short", *, text: str = "", decimals: int | None = None) -> Panel:
    """One number, an eighth of the page wide."""
    return Panel(title, [Query(expr)], unit, "stat", 3, text, decimals=decimals)
