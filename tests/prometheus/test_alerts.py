"""Every alert fires for its fault after the time that it waits, and for no other fault."""

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.monitoring import rules_file
from deploy.monitoring.alerts import ALERTS
from deploy.monitoring.recording_rules import RECORDING_RULES
from embedwire_server.core.errors import Reason
from tests.docs.blocks import blocks
from tests.docs.owners import owned
from tests.prometheus import promtool, scenarios
from tests.prometheus.promtool import Expected
from tests.prometheus.scenarios import BEGIN, FAULTS, Fault, inputs, upstream_requests

PAGE = Path(__file__).parents[2] / "docs/alerts.md"
WAITS = {alert.name: alert.for_ for alert in ALERTS}
LASTING = [fault for fault in FAULTS if fault.counters and fault.lasts > 1]
NONE: frozenset[str] = frozenset()


def minutes(duration: str) -> int:
    return int(duration[:-1]) * {"m": 1, "h": 60, "d": 24 * 60}[duration[-1]]


def test_the_rules_are_valid() -> None:
    """Promtool accepts the syntax of all expressions and templates."""
    subprocess.run(["promtool", "check", "rules", rules_file.PATH], check=True)


def test_the_configuration_of_the_page(tmp_path: Path) -> None:
    """Promtool accepts the configuration that the page shows, beside a copy of the rules."""
    (block,) = owned(blocks(), "tests/prometheus/test_alerts.py")
    (tmp_path / "prometheus.yml").write_text(block.text)
    shutil.copy(rules_file.PATH, tmp_path)
    run = subprocess.run(
        ["promtool", "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stderr
    assert f"{len(ALERTS) + len(RECORDING_RULES)} rules found" in run.stdout


def test_every_alert_has_a_fault() -> None:
    """No alert is untested."""
    assert {fault.alert for fault in FAULTS}.union(*(fault.also for fault in FAULTS)) == WAITS.keys()


def test_every_reason_has_an_alert_or_a_row() -> None:
    """A reason of failures is in an alert or in a fault that fires one, or the page says why it fires none."""
    counted = [name for fault in FAULTS for name in fault.counters] + [alert.expression for alert in ALERTS]
    alerted = {reason for reason in Reason for text in counted if re.search(f'["|(]{reason}["|)]', text)}
    (table,) = re.findall(r"why it fires no alert \|\n\|.*\n((?:\|.*\n)+)", PAGE.read_text())
    rows = set(re.findall("`([A-Z_]+)`", table))

    assert alerted | rows == set(Reason)
    assert not alerted & rows


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.alert)
def test_an_alert_fires_for_its_fault_only(fault: Fault, tmp_path: Path) -> None:
    """It does not fire before the fault, nor while it must wait; then it fires, and no alert for another fault does."""
    wait = minutes(WAITS[fault.alert])
    earlier = frozenset(alert for alert in fault.also if minutes(WAITS[alert]) < wait)
    until = BEGIN + (fault.minutes or wait + 5)
    expected = [Expected(BEGIN - 1, NONE), Expected(until, fault.also | {fault.alert})]
    if wait:
        expected.insert(1, Expected(BEGIN + wait - 1, earlier))

    assert promtool.faults(tmp_path, scenarios.series(fault, until + 1), expected) == ""


@pytest.mark.parametrize("fault", LASTING, ids=lambda fault: fault.alert)
def test_a_fault_of_a_minute_fires_nothing(fault: Fault, tmp_path: Path) -> None:
    """Alerts about shares ignore a burst, which is over before an operator could act; those that never wait do not."""
    brief = dataclasses.replace(fault, lasts=1)
    at_once = frozenset(alert for alert in fault.also if minutes(WAITS[alert]) == 0)
    expected = [Expected(minute, at_once) for minute in range(BEGIN, BEGIN + 15)]

    assert promtool.faults(tmp_path, scenarios.series(brief, BEGIN + 15), expected) == ""


def test_a_restart_of_redis_fires_nothing(tmp_path: Path) -> None:
    """A minute without Redis calls no operator: no call fails, and the servers share the quota again."""
    restart = Fault(alert="", gauges=dict.fromkeys([scenarios.SHARED, *scenarios.REDIS_UP.values()], (0, 1)))
    expected = [Expected(BEGIN + minute, NONE) for minute in range(20)]

    assert promtool.faults(tmp_path, scenarios.series(restart, BEGIN + 21), expected) == ""


def test_an_unstable_redis_fires(tmp_path: Path) -> None:
    """Redis that is unavailable every other minute fires, although it answers at times."""
    unstable = Fault(alert="", gauges={scenarios.SHARED: (0, 1) * 10})
    expected = [Expected(BEGIN + 12, frozenset({"EmbedwireQuotaNotShared"}))]

    assert promtool.faults(tmp_path, scenarios.series(unstable, BEGIN + 20), expected) == ""


@pytest.mark.parametrize("normal", [scenarios.NORMAL, scenarios.ZERO_TRAFFIC, {}], ids=["normal", "zero", "new"])
def test_no_alert_fires_without_a_fault(normal: dict[str, float], tmp_path: Path) -> None:
    """None fires in normal traffic, without any call, and while a new server has no counters."""
    expected = [Expected(minute, NONE) for minute in range(0, 180, 10)]

    assert promtool.faults(tmp_path, scenarios.series(None, 181, normal), expected) == ""


@pytest.mark.parametrize("counters", scenarios.SINGLE_FAILURES.values(), ids=scenarios.SINGLE_FAILURES)
def test_one_failure_of_a_quiet_server_fires_nothing(counters: dict[str, float], tmp_path: Path) -> None:
    """With few inputs, one of them is a large share of 5 minutes and of an hour; it calls no operator."""
    normal = {**scenarios.QUIET, **dict.fromkeys(counters, 0.0)}
    series = scenarios.series(Fault(alert="", counters=counters, lasts=1), BEGIN + 31, normal)

    assert promtool.faults(tmp_path, series, [Expected(BEGIN + minute, NONE) for minute in range(30)]) == ""


def test_an_outage_of_a_quiet_server_fires(tmp_path: Path) -> None:
    """With few inputs, an upstream that fails all of them fires its alert within 40 minutes."""
    counters = {inputs("OK"): 0.0, inputs("UPSTREAM_TIMEOUT"): 1 / 6, upstream_requests("UPSTREAM_TIMEOUT"): 0.5}
    series = scenarios.series(Fault(alert="", counters=counters), BEGIN + 41, scenarios.QUIET)

    assert promtool.faults(tmp_path, series, [Expected(BEGIN + 40, frozenset({"EmbedwireUpstreamFailing"}))]) == ""
