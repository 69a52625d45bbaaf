"""Fenced blocks of the documentation."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
# The pages, as patterns below the root. Decisions are records: their blocks show the code of their time.
PAGES = ("*.md", "docs/*.md", "clients/*/README.md", "proto/*.md", "deploy/**/*.md")
PROGRAMS = ("python", "go", "ts", "js", "java")
OUTPUT = ("", "text")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: path of the page, relative to the root.
        line: line of the opening fence.
        language: the word after the fence; `indented` for a block without a fence.
        text: the content.
        output: the content of the output block directly below a program; None without one.
    """

    page: str
    line: int
    language: str
    text: str
    output: str | None = None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def parse(page: str, markdown: str) -> list[Block]:
    """Return the blocks of a page in their order; the output of a program is part of its block."""
    found: list[Block] = []
    previous: Token | None = None
    for token in MarkdownIt("commonmark").parse(markdown):
        if token.type in ("fence", "code_block"):
            block = _block(page, token)
            if _is_output(block, previous, found):
                found[-1] = dataclasses.replace(found[-1], output=block.text)
            else:
                found.append(block)
        previous = token
    return found


@functools.cache
def blocks() -> tuple[Block, ...]:
    """Return the blocks of all pages."""
    pages = sorted({path for pattern in PAGES for path in ROOT.glob(pattern)})
    return tuple(block for path in pages for block in parse(str(path.relative_to(ROOT)), path.read_text()))


def _block(page: str, token: Token) -> Block:
    assert token.map is not None
    words = token.info.split()
    language = "indented" if token.type == "code_block" else words[0] if words else ""
    return Block(page, token.map[0] + 1, language, token.content)


def _is_output(block: Block, previous: Token | None, found: Sequence[Block]) -> bool:
    """Whether a block without a language follows a program, with nothing between."""
    follows_block = previous is not None and previous.type == "fence" and bool(found)
    return follows_block and block.language in OUTPUT and found[-1].language in PROGRAMS and found[-1].output is None
