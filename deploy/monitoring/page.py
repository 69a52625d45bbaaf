"""Generated parts of docs/alerts.md: the lists of alerts and recording rules, and the runbooks."""

import textwrap
from collections.abc import Iterator

from deploy.monitoring.alert import Alert
from deploy.monitoring.alerts import ALERTS
from deploy.monitoring.recording_rules import PARTIES, RECORDING_RULES
from docs.reference.pages import cell

_PARTIES = {
    "caller": "Alerts for callers",
    "policy": "Alerts for policies of the server",
    "upstream": "Alerts for the upstream",
    "server": "Alerts for the server",
}


def overview() -> Iterator[str]:
    """Yield a table of all alerts with a link to each runbook."""
    yield "| alert | party | severity | after | condition |"
    yield "|---|---|---|---|---|"
    for alert in sorted(ALERTS, key=lambda alert: (PARTIES.index(alert.party), alert.severity)):
        name = f"[`{alert.name}`](#{alert.anchor})"
        yield f"| {name} | {alert.party} | {alert.severity} | {_after(alert)} | {cell(alert.condition)} |"


def runbooks() -> Iterator[str]:
    """Yield the section of each alert, grouped by party."""
    for party, title in _PARTIES.items():
        yield from (f"## {title}", "")
        for alert in ALERTS:
            if alert.party == party:
                yield from _runbook(alert)


def recording_rules() -> Iterator[str]:
    """Yield a table of the recording rules, each name once."""
    yield "| series | labels besides `namespace` and `job` | meaning |"
    yield "|---|---|---|"
    for record, rule in {rule.record: rule for rule in RECORDING_RULES}.items():
        labels = sorted((rule.labels | rule.added.keys()) - {"namespace", "job"})
        yield f"| `{record}` | {', '.join(f'`{label}`' for label in labels)} | {cell(rule.meaning)} |"


def _runbook(alert: Alert) -> Iterator[str]:
    yield from (f"### {alert.name}", "", f"Severity `{alert.severity}`, party `{alert.party}`, {_after(alert)}.", "")
    yield from (alert.condition, "", "```promql", alert.expression, "```", "")
    yield from ("**What it means.** " + textwrap.dedent(alert.meaning).strip(), "")
    yield from ("**What to look at.**", "", textwrap.dedent(alert.look).strip(), "")
    yield from ("**What to do.**", "", textwrap.dedent(alert.actions).strip(), "")


def _after(alert: Alert) -> str:
    return "immediately" if alert.for_ == "0m" else f"after {alert.for_}"
