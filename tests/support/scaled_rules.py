"""Prometheus rules whose durations are divided by a factor, so that incidents take seconds."""

import copy
import re
from typing import Any

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}
_PARTS = re.compile(r"(\d+)(ms|[smhdwy])")
_DURATION = r"(?:\d+(?:ms|[smhdwy]))+"
# Strings are matched as well, so that nothing inside of them is changed.
_IN_EXPRESSION = re.compile(rf'"[^"]*"|(?<=\[){_DURATION}(?=[\]:])|(?<=:){_DURATION}(?=\])|(?<=offset ){_DURATION}')
_OF_RULES = ("for", "keep_firing_for")


def seconds(duration: str) -> float:
    """Return the seconds of a duration of Prometheus, such as `1h30m`."""
    return sum(int(number) * _UNITS[unit] for number, unit in _PARTS.findall(duration))


def duration(length: float) -> str:
    """Return a duration of Prometheus, in milliseconds."""
    return f"{round(length * 1000)}ms"


def expression(text: str, factor: float) -> str:
    """Return PromQL with shorter windows, steps and offsets."""

    def shorter(found: re.Match[str]) -> str:
        return found.group() if found.group().startswith('"') else duration(seconds(found.group()) / factor)

    return _IN_EXPRESSION.sub(shorter, text)


def scaled(rules: dict[str, Any], factor: float) -> dict[str, Any]:
    """Return a file of rules, with every duration divided by the factor."""
    changed = copy.deepcopy(rules)
    for group in changed["groups"]:
        if "interval" in group:
            group["interval"] = duration(seconds(group["interval"]) / factor)
        for rule in group["rules"]:
            rule["expr"] = expression(str(rule["expr"]), factor)
            for name in set(_OF_RULES) & rule.keys():
                rule[name] = duration(seconds(rule[name]) / factor)
    return changed
