"""Writes the generated parts of the pages in docs/ and of the chart; with `--check`, only reports what is outdated."""

import sys
from pathlib import Path

from docs.reference import chart, contract, metrics, pages
from embedwire_server.config import render

DOCS = Path(__file__).parents[1]
SECTIONS: dict[str, pages.Section] = {
    "contract": contract.lines,
    "error reasons": contract.lines_of_error_reasons,
    "metrics": metrics.lines,
    "configuration": render.reference,
    "chart values": chart.values,
}


def main(*, is_check: bool) -> int:
    """Write or check all files. Return 1 if a page is outdated, or a generated part is on no page or on two."""
    outdated = pages.outdated(DOCS, SECTIONS) | chart.outdated()
    for page, text in outdated.items():
        if is_check:
            sys.stderr.write(f"{page.relative_to(DOCS.parent)} is outdated; run make docs-reference\n")
        else:
            page.write_text(text)
    return 1 if is_check and outdated else 0


if __name__ == "__main__":
    sys.exit(main(is_check="--check" in sys.argv[1:]))
