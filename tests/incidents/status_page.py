"""The status page of a server, as lines of text."""

import html.parser
import re
from collections.abc import Sequence

import httpx

_NUMBERS = re.compile(r"\b[0-9a-f]{16,}\b|\d+")
_EMPTY = "\N{EN DASH}"
_ALWAYS_NEW = "Uptime"


class _Page(html.parser.HTMLParser):
    """Collects a line for each term and for each row of a table, with the names of its columns."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._text: list[str] = []
        self._term = ""
        self._columns: list[str] = []
        self._cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 - the signature of the library
        if tag in {"th", "td", "dt", "dd"}:
            self._text = []

    def handle_data(self, data: str) -> None:
        self._text += data.split()

    def handle_endtag(self, tag: str) -> None:
        if tag in {"th", "td"}:
            self._cells.append(" ".join(self._text))
        elif tag == "thead":
            self._columns, self._cells = self._cells, []
        elif tag == "tr" and self._columns:
            self.lines.append(self._row())
            self._cells = []
        elif tag == "table":
            self._columns = []
        elif tag == "dt":
            self._term = " ".join(self._text)
        elif tag == "dd":
            self.lines.append(f"{self._term}: {' '.join(self._text)}")

    def _row(self) -> str:
        named = zip(self._columns[1:], self._cells[1:], strict=False)
        return f"{self._cells[0]}: {', '.join(f'{column} {cell}' for column, cell in named if cell != _EMPTY)}"


def lines(page: str) -> list[str]:
    """Return the terms and the rows of the tables of a page of HTML."""
    parser = _Page()
    parser.feed(page)
    return parser.lines


def news(before: Sequence[str], now: Sequence[str], count: int = 8) -> list[str]:
    """Return the lines that are new, first those that are more than other numbers in an earlier line.

    Of lines that differ in numbers only, the first is returned.
    """
    known = {_without_numbers(line) for line in before}
    found: dict[str, str] = {}
    for line in now:
        if line not in before and not line.startswith(_ALWAYS_NEW):
            found.setdefault(_without_numbers(line), line)
    return sorted(found.values(), key=lambda line: _without_numbers(line) in known)[:count]


def _without_numbers(line: str) -> str:
    return _NUMBERS.sub("#", line)


async def read(address: str) -> list[str]:
    """Return the lines of the status page of the server with this address of metrics; none if it does not answer."""
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        try:
            page = await client.get(f"http://{address}/")
        except httpx.TimeoutException:
            return []
    return lines(page.text) if page.is_success else []
