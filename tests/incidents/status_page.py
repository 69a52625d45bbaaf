"""The status page of a server, as text."""

import html.parser

import httpx

_BREAKS = frozenset({"p", "div", "tr", "li", "h1", "h2", "h3", "table", "section", "dt", "br", "caption"})
_HIDDEN = frozenset({"style", "script", "title"})


class _Text(html.parser.HTMLParser):
    """Collects the text of a page, a line for each block or row."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 - the signature of the library
        self.parts.append("\n" if tag in _BREAKS else " ")
        self._hidden = tag if tag in _HIDDEN else self._hidden

    def handle_endtag(self, tag: str) -> None:
        self._hidden = "" if tag == self._hidden else self._hidden

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(" ".join(data.split()))


def lines(page: str) -> list[str]:
    """Return the text of a page of HTML, a line for each block or row of a table."""
    parser = _Text()
    parser.feed(page)
    found = [" ".join(line.split()) for line in "".join(parser.parts).splitlines()]
    return [line for line in found if line]


async def read(address: str) -> list[str]:
    """Return the lines of the status page of the server with this address of metrics; none if it does not answer."""
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        try:
            page = await client.get(f"http://{address}/")
        except httpx.TimeoutException:
            return []
    return lines(page.text) if page.is_success else []
