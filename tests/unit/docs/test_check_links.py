"""The link checker of the built site finds dead links."""

from pathlib import Path

import pytest

from docs.website import check_links


def site(folder: Path, body: str) -> Path:
    (folder / "clients").mkdir()
    (folder / "clients/index.html").write_text('<h2 id="install">Install</h2>')
    (folder / "style.css").touch()
    (folder / "index.html").write_text(f'<h1 id="top">Top</h1>{body}')
    return folder


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="gone.html">x</a>', "gone.html: no such file"),
        ('<a href="../outside.html">x</a>', "../outside.html: no such file"),
        ('<img src="gone.png">', "gone.png: no such file"),
        ('<a href="#gone">x</a>', "#gone: no element has this id"),
        ('<a href="clients/index.html#gone">x</a>', "clients/index.html#gone: no element has this id"),
        ('<a href="https://">x</a>', "https://: not a URL"),
        ('<a href="htps://example.com">x</a>', "htps://example.com: not a URL"),
        ('<a href="http://[::1">x</a>', "http://[::1: not a URL"),
        (
            '<script src="https://example.com/x.js"></script>',
            "https://example.com/x.js: loaded from another site",
        ),
        (
            '<link rel="stylesheet" href="//example.com/x.css">',
            "//example.com/x.css: loaded from another site",
        ),
    ],
)
def test_a_fault_is_found(tmp_path: Path, body: str, fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A link without a file or an id, a URL that is none, and a file from another site fail the check."""
    assert check_links.main(str(site(tmp_path, body))) == 1
    assert capsys.readouterr().err == f"index.html: {fault}\n"


def test_good_links_pass(tmp_path: Path) -> None:
    """Files, folders with an index page, ids and other sites are accepted."""
    links = (
        "#top",
        "",
        "/",
        "index.html#top",
        "clients/",
        "clients/index.html#install",
        "https://example.com/#x",
        "mailto:a@b.c",
    )
    body = '<link rel="stylesheet" href="style.css">' + "".join(f'<a href="{link}">x</a>' for link in links)
    assert check_links.main(str(site(tmp_path, body))) == 0


def test_an_empty_site_fails(tmp_path: Path) -> None:
    """A folder without pages is not a checked site."""
    assert check_links.main(str(tmp_path)) == 1
