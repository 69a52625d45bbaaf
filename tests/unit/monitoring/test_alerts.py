"""Alerts: each is complete, and its expressions and queries use what exists."""

import re
import textwrap
from collections.abc import Iterator
from typing import get_args

import pytest
import yaml

from deploy.monitoring import page, rules_file
from deploy.monitoring.alert import Alert, Party, Severity
from deploy.monitoring.alerts import ALERTS
from deploy.monitoring.definitions import faults
from deploy.monitoring.recording_rules import LABELS, RECORDING_RULES, RecordingRule, reasons_of
from docs.reference.__main__ import FILES, ROOT, main
from embedwire_server.core.errors import Reason
from embedwire_server.observability.log_lines import _ATTRIBUTE_NAMES

EACH = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)


def queries(alert: Alert) -> Iterator[str]:
    yield from re.findall(r"```promql\n(.*?)```", textwrap.dedent(alert.look), re.DOTALL)


@EACH
def test_expressions(alert: Alert) -> None:
    """The condition and the queries of the runbook use metrics, labels and values that exist."""
    assert [fault for text in (alert.expression, *queries(alert)) for fault in faults(text, LABELS)] == []


@EACH
def test_an_alert_is_complete(alert: Alert) -> None:
    """It has a party, a severity and all texts; its condition is a sentence, its runbook has something to do."""
    assert alert.party in get_args(Party)
    assert alert.severity in get_args(Severity)
    assert re.fullmatch(r"\d+[mhd]", alert.for_)
    assert alert.summary
    assert not alert.summary.endswith(".")
    for text in (alert.condition, alert.description, alert.meaning.strip()):
        assert text.endswith(".")
    assert "```promql" in alert.look or "- " in alert.look
    assert textwrap.dedent(alert.actions).startswith("\n- ")


@EACH
def test_templates_use_labels_of_the_expression(alert: Alert) -> None:
    """A template names a label that the expression leaves, so that no annotation has a gap."""
    named = set(re.findall(r"\$labels\.(\w+)", alert.summary + alert.description))
    kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", alert.expression))))
    kept |= set().union(*(labels for record, labels in LABELS.items() if record in alert.expression))
    kept |= {"job", "instance"} if " by (" not in alert.expression else {"job"}

    assert named <= kept


@EACH
def test_log_attributes_exist(alert: Alert) -> None:
    """Attributes of the log in a runbook are written by the server."""
    named = set(re.findall(r"`(embedwire\.[a-z_.]+)`", alert.look))
    source = "".join(path.read_text() for path in (ROOT / "server").rglob("*.py"))

    for attribute in named - set(_ATTRIBUTE_NAMES.values()):
        assert re.search(rf'\b{attribute.removeprefix("embedwire.")}=|"{attribute.removeprefix("embedwire.")}"', source)


def test_names_and_anchors_are_unique() -> None:
    """Each alert has a section of its own, of which the anchor follows from the name."""
    names = [alert.name for alert in ALERTS]
    sections = re.findall(r"^### (\w+)$", (ROOT / "docs/alerts.md").read_text(), re.MULTILINE)

    assert all(re.fullmatch(r"Embedwire[A-Za-z]+", name) for name in names)
    assert sorted(sections) == sorted(set(names)) == sorted(names)


def test_the_overview_lists_every_alert() -> None:
    """The table has a row with a link for each alert."""
    assert sorted(re.findall(r"\(#(\w+)\)", "\n".join(page.overview()))) == sorted(alert.anchor for alert in ALERTS)


@pytest.mark.parametrize("rule", RECORDING_RULES, ids=lambda rule: f"{rule.record} {dict(rule.added)}")
def test_recording_rules(rule: RecordingRule) -> None:
    """A rule uses what exists, and its name lists its labels."""
    level, _, _ = rule.record.partition(":")

    assert faults(rule.expression, LABELS) == []
    assert set(level.replace("grpc_method", "grpcmethod").split("_")) == {
        label.replace("_", "") for label in rule.labels | rule.added.keys()
    } - {"namespace"}


def test_each_reason_belongs_to_one_party() -> None:
    """The patterns of the parties cover all reasons, each once."""
    assert sorted("|".join(map(reasons_of, get_args(Party))).split("|")) == sorted(Reason)


def test_the_rule_file_has_all_rules() -> None:
    """The file is YAML with the rules in the order in which they depend on each other, and links to the runbooks."""
    recorded, alerts = (group["rules"] for group in yaml.safe_load(rules_file.text())["groups"])

    assert [(rule["record"], rule["expr"]) for rule in recorded] == [
        (rule.record, rule.expression) for rule in RECORDING_RULES
    ]
    assert [(rule["alert"], rule["expr"], rule["for"]) for rule in alerts] == [
        (alert.name, alert.expression, alert.for_) for alert in ALERTS
    ]
    assert {rule["annotations"]["runbook_url"].partition("#")[0] for rule in alerts} == {rules_file.RUNBOOKS}
    assert [rule["annotations"]["summary"] for rule in alerts] == [alert.summary for alert in ALERTS]


def test_generated_files_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    """The committed files are what the code generates."""
    assert rules_file.PATH in FILES
    assert main(is_check=True) == 0, capsys.readouterr().err
