"""The Grafana dashboard, as JSON that Grafana imports."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from deploy.monitoring import definitions
from deploy.monitoring.alerts import ALERTS
from deploy.monitoring.call_panels import CALLERS, LATENCY, TRAFFIC
from deploy.monitoring.panel import Panel, Query, Row
from deploy.monitoring.rules_file import RUNBOOKS
from deploy.monitoring.server_panels import PROCESS, QUEUES
from deploy.monitoring.store_panels import CACHE, SHARED_QUOTA
from deploy.monitoring.upstream_panels import RATE_LIMITS, RETRIES, UPSTREAM

FILE: Final = Path(__file__).parents[1] / "helm/embedwire/files/dashboard.json"
ROWS: Final = (TRAFFIC, LATENCY, UPSTREAM, RATE_LIMITS, SHARED_QUOTA, QUEUES, RETRIES, CACHE, CALLERS, PROCESS)

_SCHEMA_VERSION: Final = 38  # of Grafana 10; later versions convert it
_COLUMNS: Final = 24  # of Grafana's grid
_HEIGHT: Final = 8
_MAX_IN_LINE: Final = 4
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_PLACEHOLDERS: Final = {
    "$server": 'namespace=~"$namespace", job=~"$job", instance=~"$instance"',
    "$window": "$__rate_interval",
}
_ANCHORS: Final = {alert.name: alert.anchor for alert in ALERTS}

Json = dict[str, Any]


def dashboard() -> Json:
    """Return the dashboard, as Grafana imports it.

    Raises:
        ValueError: a query refers to a metric or a label that the server does not have.
        KeyError: a panel refers to an alert that does not exist.
    """
    return {
        "uid": "embedwire",
        "title": "Embedwire",
        "description": "Traffic, failures, latency, upstream, limits and processes of Embedwire servers.",
        "tags": ["embedwire", "grpc"],
        "schemaVersion": _SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,  # a shared crosshair
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [{"type": "link", "icon": "doc", "tags": [], **_link("Runbooks", RUNBOOKS)}],
        "templating": {"list": [_data_source(), _namespace(), _job(), _instance()]},
        "annotations": {"list": [_alerts()]},
        "panels": list(_panels()),
    }


def text() -> str:
    """Return the content of the file."""
    return json.dumps(dashboard(), indent=1) + "\n"


def _panels() -> Iterator[Json]:
    identifier, top = 1, 0
    for row in ROWS:
        yield {"type": "row", "id": identifier, "title": row.title, "collapsed": False, "panels": [], **_at(top, 0)}
        identifier, top = identifier + 1, top + 1
        for index, panel in enumerate(row.panels):
            line, column = divmod(index, _in_line(row))
            width = _COLUMNS // _in_line(row)
            yield {"id": identifier, **_at(top + line * _HEIGHT, column * width, width, _HEIGHT), **rendered(panel)}
            identifier += 1
        top += -(-len(row.panels) // _in_line(row)) * _HEIGHT


def _in_line(row: Row) -> int:
    return min(len(row.panels), _MAX_IN_LINE)


def _at(top: int, left: int, width: int = _COLUMNS, height: int = 1) -> Json:
    return {"gridPos": {"x": left, "y": top, "w": width, "h": height}}


def rendered(panel: Panel) -> Json:
    """Return a panel without its place.

    Raises:
        ValueError: a query refers to a metric or a label that the server does not have.
        KeyError: the panel refers to an alert that does not exist.
    """
    stacking = {"mode": "normal" if panel.is_stacked else "none", "group": "A"}
    drawn = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 20 if panel.is_stacked else 0, "stacking": stacking}
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "links": [_link(name, f"{RUNBOOKS}#{_ANCHORS[name]}") for name in panel.alerts],
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": drawn}, "overrides": []},
        "options": {
            "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [_target(query, index) for index, query in enumerate(panel.queries)],
    }


def _target(query: Query, index: int) -> Json:
    return {
        "refId": chr(ord("A") + index),
        "datasource": _SOURCE,
        "editorMode": "code",
        "expr": _expression(query),
        "legendFormat": query.legend,
        "range": True,
    }


def _expression(query: Query) -> str:
    """Return PromQL with Grafana's variables, whose names are checked."""
    expression = query.expression
    for placeholder, value in _PLACEHOLDERS.items():
        expression = expression.replace(placeholder, value)
    if faults := definitions.faults(expression.replace("$__rate_interval", "1m")):
        raise ValueError(f"{query.expression}: {'; '.join(faults)}")
    return expression


def _data_source() -> Json:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}}


def _variable(label: str, selector: str) -> Json:
    query = f"label_values(embedwire_build_info{selector}, {label})"
    return {
        "name": label,
        "label": label.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": label},
        "definition": query,
        "refresh": 2,  # when the time range changes
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _namespace() -> Json:
    # All namespaces, also none: the label is from Kubernetes.
    return _variable("namespace", "") | {"allValue": ".*"}


def _job() -> Json:
    return _variable("job", '{namespace=~"$namespace"}')


def _instance() -> Json:
    # All instances of the jobs, also one that was never up. All jobs are those with metrics of Embedwire only.
    return _variable("instance", '{namespace=~"$namespace", job=~"$job"}') | {"allValue": ".*"}


def _alerts() -> Json:
    """Return the annotations: each firing alert, in all panels."""
    return {
        "name": "Alerts",
        "enable": True,
        "iconColor": "red",
        "datasource": _SOURCE,
        "expr": 'ALERTS{alertstate="firing", alertname=~"Embedwire.*"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{severity}}",
        "step": "30s",
    }


def _link(title: str, url: str) -> Json:
    return {"title": title, "url": url, "targetBlank": True}
