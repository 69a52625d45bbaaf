"""Checks the links of the built site without a network: `python -m docs.website.check_links FOLDER`.

A link to a page must have its file, and a fragment the element with this id. Of links to other sites only the syntax is
checked. Files that a page loads (scripts, style sheets, images) must belong to the site.
"""

import sys
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

_LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href")}
_NOT_LOADED = {"canonical", "next", "prev", "edit", "alternate"}  # relations of <link> that browsers do not fetch


class Page(HTMLParser):
    """Links and targets of one page.

    Attributes:
        ids: ids of the elements, which fragments refer to.
        links: for each link, its URL and whether the browser loads it to show the page.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[tuple[str, bool]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the id and the links of an element."""
        values = {name: value for name, value in attrs if value is not None}
        self.ids.update(values[name] for name in ("id", "name") if name in values)
        for name in {"href", "src"} & values.keys():
            self.links.append((values[name], (tag, name) in _LOADED and values.get("rel") not in _NOT_LOADED))


def faults(site: Path) -> Iterator[str]:
    """Yield a line for each fault of each page."""
    pages = {file.resolve(): Page(file.read_text()) for file in sorted(site.rglob("*.html"))}
    for file, page in pages.items():
        for link, is_loaded in page.links:
            if fault := _fault(link, is_loaded, file, site.resolve(), pages):
                yield f"{file.relative_to(site.resolve())}: {link}: {fault}"


def _fault(link: str, is_loaded: bool, file: Path, site: Path, pages: Mapping[Path, Page]) -> str:  # noqa: FBT001
    try:
        url = urlsplit(link)
    except ValueError:
        return "not a URL"
    if url.scheme or url.netloc:
        return _fault_of_another_site(url, is_loaded=is_loaded)
    target = (site / url.path.lstrip("/") if url.path.startswith("/") else file.parent / unquote(url.path)).resolve()
    target = file if not url.path else target / "index.html" if target.is_dir() else target
    if not target.is_file() or not target.is_relative_to(site):
        return "no such file"
    fragment = unquote(url.fragment)
    if fragment and target in pages and fragment not in pages[target].ids:
        return "no element has this id"
    return ""


def _fault_of_another_site(url: SplitResult, *, is_loaded: bool) -> str:
    if is_loaded and url.scheme != "data":
        return "loaded from another site"
    return "" if url.scheme in {"mailto", "data"} or (url.scheme in {"http", "https"} and url.hostname) else "not a URL"


def main(folder: str) -> int:
    """Print all faults; return 1 if there are any, or if the folder has no pages."""
    found = list(faults(Path(folder)))
    count = len(list(Path(folder).rglob("*.html")))
    sys.stderr.writelines(f"{fault}\n" for fault in found)
    sys.stdout.write(f"{count} pages, {len(found)} faulty links\n")
    return 1 if found or not count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
