"""Writes the generated parts of the pages in docs/; with `--check`, only reports the pages that are outdated."""

import sys
from pathlib import Path

from docs.reference import contract, metrics, pages
from embedwire_server.config import render

DOCS = Path(__file__).parents[1]
SECTIONS: dict[str, pages.Section] = {
    "contract": contract.lines,
    "error reasons": contract.lines_of_error_reasons,
    "metrics": metrics.lines,
    "configuration": render.reference,
}


def main(*, is_check: bool) -> int:
    """Write or check all pages. Return 1 if a page is outdated, or a generated part is on no page or on two."""
    outdated = pages.outdated(DOCS, SECTIONS)
    for page, text in outdated.items():
        if is_check:
            sys.stderr.write(f"docs/{page.relative_to(DOCS)} is outdated; run make docs-reference\n")
        else:
            page.write_text(text)
    return 1 if is_check and outdated else 0


if __name__ == "__main__":
    sys.exit(main(is_check="--check" in sys.argv[1:]))
