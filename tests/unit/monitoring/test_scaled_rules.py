"""Durations of rules are divided by a factor, and nothing else changes."""

import pytest
import yaml

from deploy.monitoring import rules_file
from tests.support import scaled_rules


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rate(x_total[5m])", "rate(x_total[15000ms])"),
        ('increase(x_total{a="[5m]"}[1h30m]) > 5', 'increase(x_total{a="[5m]"}[270000ms]) > 5'),
        ("max_over_time(x[1h:1m])", "max_over_time(x[180000ms:3000ms])"),
        ("max_over_time(x[1h:])", "max_over_time(x[180000ms:])"),
        ("x offset 10m", "x offset 30000ms"),
        ("job:x:rate5m > 0.05", "job:x:rate5m > 0.05"),
    ],
)
def test_an_expression(text: str, expected: str) -> None:
    """Windows, steps and offsets are scaled; strings, names and numbers are kept."""
    assert scaled_rules.expression(text, 20) == expected


def test_a_rule() -> None:
    """The interval of a group and the waiting time of an alert are scaled; the original is unchanged."""
    rules = {"groups": [{"name": "a", "interval": "30s", "rules": [{"alert": "A", "expr": "x > 5", "for": "0m"}]}]}
    scaled = scaled_rules.scaled(rules, 20)
    assert scaled["groups"][0]["interval"] == "1500ms"
    assert scaled["groups"][0]["rules"][0] == {"alert": "A", "expr": "x > 5", "for": "0ms"}
    assert rules["groups"][0]["interval"] == "30s"


def test_the_rules_of_the_server() -> None:
    """Scaled by 1, the durations of all rules are the same."""
    rules = yaml.safe_load(rules_file.text())
    for before, after in zip(rules["groups"], scaled_rules.scaled(rules, 1)["groups"], strict=True):
        for one, other in zip(before["rules"], after["rules"], strict=True):
            assert scaled_rules.seconds(one.get("for", "0s")) == scaled_rules.seconds(other.get("for", "0s"))
