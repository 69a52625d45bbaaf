"""Console sessions of a page: commands, and comparison of their output with the output that the page shows.

A command begins with `$ `. It continues after a backslash at the end of its line, and on lines that begin with `> `.
The lines below a command are its output. In the output,

- durations (`"0.000037s"`) and ids of requests, tasks and traces (16, 24 or 32 hexadecimal digits) are ignored,
- a line `...` stands for any number of lines,
- lines of a stream of several inputs may be in any order,
- durations and rates of `embedwire batch` are ignored, and its JSON lines, which a terminal does not show.
"""

import dataclasses
import difflib
import re
from collections import Counter

_VARYING = re.compile(r'"[0-9.]+s"|;dur=[0-9.]+|\b[0-9a-f]{16}(?:[0-9a-f]{8}){0,2}\b')
_BATCH = re.compile(r"\bembedwire batch\b")
_OF_BATCH = re.compile(r'^\{"event": .*\n|, in [0-9.]+ (?:s|min)(?:, [0-9,.]+/(?:s|min))?$', re.MULTILINE)
_STREAM = re.compile(r"\.stream\(|\bembedwire embed\b")
ANY_LINES = "..."


@dataclasses.dataclass
class Command:
    """A command and the output that the page shows below it."""

    text: str
    shown: str

    @property
    def is_background(self) -> bool:
        return self.text.endswith(" &")


def commands(session: str) -> list[Command]:
    """Return the commands of a block in their order.

    Raises:
        ValueError: the block does not begin with a command.
    """
    found: list[Command] = []
    continues = False
    for line in session.splitlines():
        if line.startswith("$ "):
            found.append(Command(line.removeprefix("$ "), ""))
        elif not found:
            raise ValueError(f"a console block begins with a command after `$ `, not with {line!r}")
        elif continues or line.startswith("> "):
            found[-1].text += "\n" + line.removeprefix("> ")
        else:
            found[-1].shown += line + "\n"
            continue
        continues = line.endswith("\\")
    return found


def difference(program: str, shown: str, printed: str) -> str:
    """Compare the output of a program with the page; return a diff, or "" if they agree."""
    if _BATCH.search(program):
        shown, printed = _OF_BATCH.sub("", shown), _OF_BATCH.sub("", printed)
    expected, found = _lines(shown), _lines(printed)
    agree = _in_any_order if _STREAM.search(program) else _in_order
    return "" if agree(expected, found) else "\n".join(difflib.unified_diff(expected, found, "page", "output", n=2))


def _lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in _VARYING.sub("~", text).splitlines()]
    return "\n".join(lines).strip("\n").split("\n")


def _in_order(expected: list[str], found: list[str]) -> bool:
    pattern = "".join("(?:.*\n)*?" if line == ANY_LINES else re.escape(line) + "\n" for line in expected)
    return re.fullmatch(pattern, "\n".join(found) + "\n") is not None


def _in_any_order(expected: list[str], found: list[str]) -> bool:
    wanted = Counter(line for line in expected if line != ANY_LINES)
    return wanted <= Counter(found) if ANY_LINES in expected else wanted == Counter(found)
