"""Generated parts of pages, between `<!-- generated: NAME -->` and `<!-- end -->`."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

Section = Callable[[], Iterable[str]]
_PART = re.compile(r"(?P<start><!-- generated: (?P<name>[\w ]+) -->\n).*?(?P<end><!-- end -->\n)", re.DOTALL)


def outdated(folder: Path, sections: Mapping[str, Section]) -> dict[Path, str]:
    """Return the new text of each page below `folder` that differs from it.

    Args:
        folder: folder with the pages.
        sections: for each name, the function that yields the lines of the part.

    Raises:
        ValueError: a page has a part of an unknown name, or a part is not on exactly one page.
    """
    texts = {page: page.read_text() for page in sorted(folder.rglob("*.md"))}
    names = [match["name"] for text in texts.values() for match in _PART.finditer(text)]
    if sorted(names) != sorted(sections):
        raise ValueError(f"generated parts of pages: expected each of {sorted(sections)} once, found {sorted(names)}")
    written = {page: with_generated_parts(text, sections) for page, text in texts.items()}
    return {page: text for page, text in written.items() if text != texts[page]}


def with_generated_parts(text: str, sections: Mapping[str, Section]) -> str:
    """Return the text of a page with its generated parts as the sections yield them now."""

    def generated(match: re.Match[str]) -> str:
        return "\n".join([match["start"], *sections[match["name"]](), "", match["end"]])

    return _PART.sub(generated, text)


def cell(text: str) -> str:
    """Return a text as the cell of a table in Markdown; paragraphs are separated by `<br>`."""
    escaped = text.strip().replace("|", r"\|").replace("<", "&lt;")
    return " ".join(escaped.replace("\n\n", " <br> ").split())
