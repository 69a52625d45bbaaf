"""Runs `promtool test rules`: which alerts fire at which minute, for series of one sample a minute."""

import dataclasses
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from deploy.monitoring import rules_file

MISSING = "_"
_FIRING = 'count by (alertname) (ALERTS{alertstate="firing"})'


@dataclasses.dataclass(frozen=True)
class Expected:
    """The names of all alerts that fire at a minute."""

    minute: int
    alerts: frozenset[str]


def faults(folder: Path, series: Mapping[str, Sequence[str]], expectations: Sequence[Expected]) -> str:
    """Return what promtool says about the differences; empty if there are none.

    Args:
        folder: where the test file is written.
        series: the sample of each minute, or `MISSING`, by series.
        expectations: what must fire, and nothing else.
    """
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": " ".join(values)} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": _FIRING,
                "eval_time": f"{expected.minute}m",
                "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(expected.alerts)],
            }
            for expected in expectations
        ],
    }
    file = folder / "test.yaml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(rules_file.PATH)], "evaluation_interval": "1m", "tests": [test]})
    )
    run = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    return "" if run.returncode == 0 else run.stdout + run.stderr
