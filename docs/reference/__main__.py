"""Writes the generated files and parts of pages; with `--check`, only reports those that are outdated."""

import sys
from collections.abc import Callable
from pathlib import Path

from deploy.monitoring import dashboard, rules_file
from deploy.monitoring import page as alerts
from docs.reference import capacity, chart, contract, metrics, pages, sizing
from embedwire_server.config import render

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SECTIONS: dict[str, pages.Section] = {
    "contract": contract.lines,
    "error reasons": contract.lines_of_error_reasons,
    "metrics": metrics.lines,
    "configuration": render.reference,
    "chart values": chart.values,
    "sizing": sizing.lines,
    "capacity": capacity.lines,
    "alerts": alerts.overview,
    "runbooks": alerts.runbooks,
    "recording rules": alerts.recording_rules,
}
FILES: dict[Path, Callable[[], str]] = {
    chart.SCHEMA: chart.schema,
    chart.RELOADED: chart.reloaded_settings,
    rules_file.PATH: rules_file.text,
    dashboard.FILE: dashboard.text,
}


def main(*, is_check: bool) -> int:
    """Write or check all files. Return 1 if one is outdated, or a generated part is on no page or on two."""
    files = {path: text() for path, text in FILES.items()}
    outdated = pages.outdated(DOCS, SECTIONS) | {
        path: text for path, text in files.items() if not path.exists() or path.read_text() != text
    }
    for path, text in outdated.items():
        if is_check:
            sys.stderr.write(f"{path.relative_to(ROOT)} is outdated; run make docs-reference\n")
        else:
            path.write_text(text)
    return 1 if is_check and outdated else 0


if __name__ == "__main__":
    sys.exit(main(is_check="--check" in sys.argv[1:]))
