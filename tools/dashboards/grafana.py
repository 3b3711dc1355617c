"""Grafana's dashboard format, as far as ours need it: rows of panels, each a few PromQL queries.

The names are those of Grafana's dashboard schema v1 (its package `@grafana/schema`), which Grafana 11 and 12
read. Nothing in a document depends on where it is imported: the data source is a variable.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]
Kind = Literal["stat", "timeseries", "table", "bargauge"]

SCHEMA_VERSION = 41
WIDTH = 24
"""Columns of Grafana's grid."""

HEIGHTS: dict[Kind, int] = {"stat": 4, "timeseries": 8, "table": 9, "bargauge": 8}
SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
TAG = "anthropic-gateway"


@dataclass(frozen=True)
class Query:
    """One query of a panel.

    Args:
        expr: PromQL.
        legend: how its series are called; `{{label}}` stands for a label's value.
    """

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One question and its answer.

    Args:
        title: the question, short.
        queries: one or more; a table's are joined by their labels.
        unit: one of Grafana's units.
        kind: how it is drawn.
        width: in columns of 24.
        text: what a reader should know; shown when he points at the panel's corner.
        stacked: whether the series are parts of a whole.
        decimals: digits after the point; Grafana chooses where None.
        largest: the end of the scale, where there is one.
    """

    title: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: Kind = "timeseries"
    width: int = 12
    text: str = ""
    stacked: bool = False
    decimals: int | None = None
    largest: float | None = None


@dataclass(frozen=True)
class Row:
    """Panels below a heading, from left to right."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Variable:
    """A choice that the reader has: the values of a label.

    Args:
        name: what queries call it, as `$name`.
        label: what the reader sees.
        values: the query that lists them, in Grafana's words: `label_values(metric, label)`.
    """

    name: str
    label: str
    values: str


@dataclass(frozen=True)
class Dashboard:
    """A page.

    Args:
        name: of its file; it makes the address as well.
        title: for people.
        text: what it answers.
        rows: from top to bottom.
        variables: beside the data source.
    """

    name: str
    title: str
    text: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = field(default_factory=tuple)

    def document(self) -> Json:
        """What Grafana reads."""
        return {
            "uid": f"{TAG}-{self.name}",
            "title": self.title,
            "description": self.text,
            "tags": [TAG],
            "schemaVersion": SCHEMA_VERSION,
            "editable": True,
            "graphTooltip": 1,
            "time": {"from": "now-6h", "to": "now"},
            "refresh": "30s",
            "timezone": "browser",
            "annotations": {"list": []},
            "links": [_LINK],
            "templating": {"list": [_SOURCE_VARIABLE, *(_variable(one) for one in self.variables)]},
            "panels": list(_placed(self.rows)),
        }


_LINK: Json = {
    "title": "Gateway",
    "type": "dashboards",
    "tags": [TAG],
    "asDropdown": True,
    "icon": "external link",
    "tooltip": "",
    "url": "",
    "includeVars": True,
    "keepTime": True,
    "targetBlank": False,
}
_SOURCE_VARIABLE: Json = {
    "name": "datasource",
    "label": "Data source",
    "type": "datasource",
    "query": "prometheus",
    "refresh": 1,
    "hide": 0,
    "includeAll": False,
    "multi": False,
    "options": [],
    "regex": "",
}


def _variable(variable: Variable) -> Json:
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": variable.values, "refId": variable.name},
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
        "options": [],
        "regex": "",
    }


def _placed(rows: Sequence[Row]) -> Iterator[Json]:
    """All panels with their places and numbers; each row begins below the one before."""
    number = y = 0
    for row in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y},
            "panels": [],
        }
        y, x, height = y + 1, 0, 0
        for panel in row.panels:
            if x + panel.width > WIDTH:
                y, x, height = y + height, 0, 0
            number += 1
            place = {"h": HEIGHTS[panel.kind], "w": panel.width, "x": x, "y": y}
            yield {"id": number, "gridPos": place, **_panel(panel)}
            x, height = x + panel.width, max(height, HEIGHTS[panel.kind])
        y += height


def _panel(panel: Panel) -> Json:
    defaults: Json = {"unit": panel.unit, **_DEFAULTS[panel.kind]}
    if panel.stacked:
        defaults["custom"] = defaults["custom"] | {
            "stacking": {"mode": "normal", "group": "A"},
            "fillOpacity": 40,
        }
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    if panel.largest is not None:
        defaults["max"] = panel.largest
    shown: Json = {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _OPTIONS[panel.kind],
        "targets": [_target(panel, place) for place in range(len(panel.queries))],
    }
    if panel.kind == "table":
        shown["transformations"] = _columns(panel)
    return shown


def _target(panel: Panel, place: int) -> Json:
    query = panel.queries[place]
    target: Json = {
        "refId": chr(ord("A") + place),
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": query.expr,
    }
    if panel.kind == "timeseries":
        return target | {"legendFormat": query.legend, "range": True}
    if panel.kind == "table":
        return target | {"format": "table", "instant": True}
    return target | {"legendFormat": query.legend, "instant": True}


def _columns(panel: Panel) -> list[Json]:
    """Join the queries of a table to one, a column each, called by its legend."""
    values = (
        ["Value"]
        if len(panel.queries) == 1
        else [f"Value #{chr(65 + place)}" for place in range(len(panel.queries))]
    )
    names = {value: query.legend for value, query in zip(values, panel.queries, strict=True)}
    organize = {"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": names}
    return [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]


_DEFAULTS: dict[Kind, Json] = {
    "stat": {},
    "timeseries": {
        "min": 0,
        "custom": {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 8,
            "showPoints": "never",
            "spanNulls": False,
        },
    },
    "table": {},
    "bargauge": {
        "min": 0,
        "thresholds": {
            "mode": "absolute",
            "steps": [
                {"color": "green", "value": None},
                {"color": "orange", "value": 0.8},
                {"color": "red", "value": 0.95},
            ],
        },
    },
}
_LAST = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_OPTIONS: dict[Kind, Json] = {
    "stat": {
        "colorMode": "none",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": _LAST,
        "textMode": "auto",
    },
    "timeseries": {
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "table": {"showHeader": True, "sortBy": []},
    "bargauge": {
        "displayMode": "gradient",
        "orientation": "horizontal",
        "reduceOptions": _LAST,
        "showUnfilled": True,
        "valueMode": "color",
    },
}
