"""The words of the server's docstrings, comments, help texts and log events."""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVER = Path(__file__).parents[2] / "server"
FILES = sorted(SERVER.rglob("*.py"))
# Of programs one says `that`; what happens is said with the field's verbs: send, report, return, count.
WORDS = re.compile(r"\b(whoever|nobody|everybody|somebody|told|who)\b", re.IGNORECASE)
ALLOWED: dict[str, str] = {}  # the text of an exception, and its reason


def texts(source: str) -> Iterator[str]:
    """All comments and strings, docstrings among them."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            yield token.string


def found(source: str) -> list[str]:
    return [text for text in texts(source) if text not in ALLOWED and WORDS.search(text)]


def test_the_search_finds_each_kind() -> None:
    """A docstring, a comment and a message are found."""
    source = '"""Who calls."""\nx = 1  # nobody\nprint("everybody")\n'
    assert len(found(source)) == 3


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SERVER)))
def test_words(path: Path) -> None:
    """None of these words is used."""
    assert found(path.read_text()) == []
