"""Pages of the site: the page of each Markdown file of the repository, and the check of the navigation."""

import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

# Pages outside docs/: file of the repository, page of the site.
_ELSEWHERE = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "clients/python/README.md": "clients/python.md",
    "clients/go/README.md": "clients/go.md",
    "clients/typescript/README.md": "clients/typescript.md",
    "clients/java/README.md": "clients/java.md",
    "proto/README.md": "contract-compatibility.md",
}


def discover(root: Path) -> dict[PurePosixPath, PurePosixPath]:
    """Return the page of the site for each Markdown file that exists; both paths are relative.

    Raises:
        ValueError: two files would become the same page.
    """
    pages = {
        PurePosixPath(source): PurePosixPath(page) for source, page in _ELSEWHERE.items() if (root / source).exists()
    }
    for file in sorted((root / "docs").rglob("*.md")):
        page = PurePosixPath(file.relative_to(root / "docs").as_posix())
        if page in pages.values():
            raise ValueError(f"docs/{page}: the page {page} is written from another file already")
        pages[PurePosixPath("docs") / page] = page.with_name("index.md") if page.name == "README.md" else page
    return pages


def faults_of_navigation(configuration: Path, pages: set[PurePosixPath]) -> Iterator[str]:
    """Yield the entries without a page, and the pages without an entry. An index page stands for its folder."""
    listed = set(map(PurePosixPath, _entries(tomllib.loads(configuration.read_text())["project"]["nav"])))
    for page in sorted(listed - pages):
        yield f"{configuration.name}: nav: {page} is not a page; add the page or remove the entry"
    for page in sorted(pages - listed):
        if page.parent == PurePosixPath() or page.parent / "index.md" not in listed:
            yield f"{configuration.name}: nav: add {page}"


def _entries(navigation: Any) -> Iterator[str]:  # noqa: ANN401 - nested lists and tables of TOML
    if isinstance(navigation, str):
        yield navigation
    else:
        for item in navigation.values() if isinstance(navigation, dict) else navigation:
            yield from _entries(item)
