"""Collects the pages of the site in build/docs-source: `python -m docs.website.assemble`, a part of `make docs`."""

import shutil
import sys
from pathlib import Path, PurePosixPath

from docs.website import diagrams, dialect, pages
from docs.website.links import Links

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "build/docs-source"
CONFIGURATION = ROOT / "zensical.toml"


def assemble(root: Path, site: Path) -> list[str]:
    """Write all pages and the files that they show into the folder `site`; return the links without a target."""
    found = pages.discover(root)
    links = Links(root, found)
    shutil.rmtree(site, ignore_errors=True)
    for source, page in found.items():
        text = links.rewrite((root / source).read_text(), source)
        (site / page).parent.mkdir(parents=True, exist_ok=True)
        (site / page).write_text(dialect.convert(diagrams.replace(text, page, site)))
    styles = PurePosixPath("docs/website/style.css")
    for file, copy in [*links.images.items(), (styles, PurePosixPath(styles.name))]:
        (site / copy).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / file, site / copy)
    return links.faults


def main() -> int:
    """Assemble the site. Return 1 if a link has no target, or the navigation does not agree with the pages."""
    faults = assemble(ROOT, SOURCE)
    faults += pages.faults_of_navigation(CONFIGURATION, set(pages.discover(ROOT).values()))
    sys.stderr.writelines(f"{fault}\n" for fault in faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
