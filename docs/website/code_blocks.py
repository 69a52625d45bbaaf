"""Fenced code blocks of Markdown."""

import re

# The content and the language of a block. A block in a list is indented, and so is its closing fence.
FENCED = re.compile(
    r"^(?P<indent>[ ]*)(?P<fence>```+|~~~+)(?P<language>[\w-]*)[^\n]*\n(?P<content>.*?)^[ ]*(?P=fence)[ ]*$",
    re.DOTALL | re.MULTILINE,
)
