"""Links of pages lead to pages of the site or to files on GitHub."""

from pathlib import Path, PurePosixPath

import pytest

from docs.website.links import REPOSITORY, Links

FILES = ("README.md", "docs/a.md", "docs/decisions/README.md", "docs/b.png", "server/x.py", "clients/go/README.md")
PAGES = {
    "README.md": "index.md",
    "docs/a.md": "a.md",
    "docs/decisions/README.md": "decisions/index.md",
    "clients/go/README.md": "clients/go.md",
}


@pytest.fixture
def links(tmp_path: Path) -> Links:
    for file in FILES:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    return Links(tmp_path, {PurePosixPath(source): PurePosixPath(page) for source, page in PAGES.items()})


@pytest.mark.parametrize(
    ("source", "link", "expected"),
    [
        ("README.md", "docs/a.md", "a.md"),
        ("docs/a.md", "../README.md#usage", "index.md#usage"),
        ("docs/a.md", "decisions", "decisions/index.md"),
        ("clients/go/README.md", "../../docs/a.md#x", "../a.md#x"),
        ("clients/go/README.md", "../../server/x.py", f"{REPOSITORY}/blob/main/server/x.py"),
        ("docs/a.md", "../server", f"{REPOSITORY}/tree/main/server"),
        ("docs/a.md", "#section", "#section"),
        ("docs/a.md", "https://example.com/a.md", "https://example.com/a.md"),
        ("docs/decisions/README.md", "../b.png", "../images/docs/b.png"),
    ],
)
def test_a_link_is_rewritten(links: Links, source: str, link: str, expected: str) -> None:
    """A link leads to the same target from the page of the site, with the same fragment."""
    assert (
        links.rewrite(f"[`x`]({link})\n\n[x]: {link}\n", PurePosixPath(source))
        == f"[`x`]({expected})\n\n[x]: {expected}\n"
    )
    assert links.faults == []


def test_images_are_collected(links: Links) -> None:
    """An image becomes a file of the site."""
    links.rewrite("![plot](b.png)", PurePosixPath("docs/a.md"))
    assert links.images == {PurePosixPath("docs/b.png"): PurePosixPath("images/docs/b.png")}


@pytest.mark.parametrize("link", ["missing.md", "../../outside.md", "a.md/b"])
def test_a_missing_target_is_reported(links: Links, link: str) -> None:
    """A link without a target, or out of the repository, is reported with its page."""
    links.rewrite(f"[x]({link})", PurePosixPath("docs/a.md"))
    assert links.faults == [f"docs/a.md: {link} does not exist"]


@pytest.mark.parametrize("code", ["`[x](missing.md)`", "``a ` [x](missing.md)``", "```\n[x](missing.md)\n```"])
def test_code_is_not_changed(links: Links, code: str) -> None:
    """Code that contains the syntax of a link is no link."""
    assert links.rewrite(code, PurePosixPath("docs/a.md")) == code
    assert links.faults == []
