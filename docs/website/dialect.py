"""Conversion from the Markdown of GitHub to that of Python-Markdown, which the site generator uses.

Two rules differ: Python-Markdown wants an empty line before a list, and four spaces of indentation below a list item.
"""

import re

from docs.website.code_blocks import FENCED

_ITEM = re.compile(r"[ ]*(?:[-*+]|\d+\.) ")


def convert(text: str) -> str:
    """Return the same document for Python-Markdown. Of a block of code, only the indentation as a whole changes."""
    converted: list[str] = []
    end = 0
    for block in FENCED.finditer(text):
        converted += [_convert_prose(text[end : block.start()]), _indent_more(block[0], len(block["indent"]))]
        end = block.end()
    return "".join([*converted, _convert_prose(text[end:])])


def _convert_prose(text: str) -> str:
    lines: list[str] = []
    for line in text.split("\n"):
        above = lines[-1] if lines else ""
        if _ITEM.match(line) and above and not above.startswith(" ") and not _ITEM.match(above):
            lines.append("")
        lines.append(_indent_more(line, len(line) - len(line.lstrip(" "))))
    return "\n".join(lines)


def _indent_more(text: str, spaces: int) -> str:
    return re.sub(r"^(?=.)", " " * spaces, text, flags=re.MULTILINE)
