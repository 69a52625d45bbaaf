"""The pages of the site and its navigation agree."""

from pathlib import Path, PurePosixPath

import pytest

from docs.website import pages


def test_files_become_pages(tmp_path: Path) -> None:
    """Files of the repository and of docs/ have the names that readers know; missing ones are left out."""
    for file in (
        "README.md",
        "clients/go/README.md",
        "docs/a.md",
        "docs/decisions/README.md",
        "docs/website/style.css",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()

    assert {str(source): str(page) for source, page in pages.discover(tmp_path).items()} == {
        "README.md": "index.md",
        "clients/go/README.md": "clients/go.md",
        "docs/a.md": "a.md",
        "docs/decisions/README.md": "decisions/index.md",
    }


def test_two_files_for_one_page_are_refused(tmp_path: Path) -> None:
    """A page of docs/ must not replace one from elsewhere."""
    (tmp_path / "docs").mkdir()
    for file in ("SECURITY.md", "docs/security.md"):
        (tmp_path / file).touch()

    with pytest.raises(ValueError, match=r"docs/security\.md: the page security\.md is written from another file"):
        pages.discover(tmp_path)


def test_the_navigation_is_compared_with_the_pages(tmp_path: Path) -> None:
    """Entries without a page and pages without an entry are reported; pages below a listed index need no entry."""
    configuration = tmp_path / "zensical.toml"
    configuration.write_text('[project]\nnav = [{ A = ["index.md", { B = "gone.md" }] }, "notes/index.md"]\n')
    names = ("index.md", "new.md", "notes/index.md", "notes/001.md")

    assert list(pages.faults_of_navigation(configuration, set(map(PurePosixPath, names)))) == [
        "zensical.toml: nav: gone.md is not a page; add the page or remove the entry",
        "zensical.toml: nav: add new.md",
    ]
