"""Consoles: one for each of stdout and stderr, or one for both on a terminal."""

import errno
import os
import stat
import sys
from typing import IO, Any, NoReturn

from rich.console import Console
from rich.table import Table
from rich.text import Text

from embedwire.cli import output


class Screen(Console):
    """Console with a default width, which raises BrokenPipeError if the reader closed the output.

    Args:
        name: name of the output in errors of writing it.
        options: arguments of Console.
    """

    def __init__(self, name: str, **options: Any) -> None:  # noqa: ANN401 - the arguments of Console
        super().__init__(**options)
        self._name = name
        if self.width < 1:  # COLUMNS=0 means an unknown width
            self.width = 80

    def print(self, *objects: Any, **options: Any) -> None:  # noqa: ANN401 - the arguments of Console
        """Print as Console does; `out` uses this too.

        Raises:
            OutputError: the output cannot be written.
        """
        with output.writing(self._name):
            super().print(*objects, **options)

    def on_broken_pipe(self) -> NoReturn:
        """Raise BrokenPipeError; rich would exit with 1."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def rows(file: IO[str] | None = None, name: str = "stdout") -> Screen:
    """Return the console for results: a file and its name, or stdout by default."""
    return Screen(name, file=file or sys.stdout, highlight=False, emoji=False)


def messages() -> Screen:
    """Return the console for messages: stderr. Lines are wrapped on a terminal only."""
    return Screen("stderr", stderr=True, highlight=False, emoji=False, soft_wrap=not sys.stderr.isatty())


def print_labelled(console: Console, label: Text, text: Text, gap: int = 1) -> None:
    """Print a text after a label: on a terminal wrapped between words beside the label, otherwise on one line."""
    if not console.is_terminal:
        console.print(label + " " * gap + text, soft_wrap=True)
        return
    grid = Table.grid(padding=(0, gap, 0, 0), pad_edge=False)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(label, text)
    console.print(grid)


def progress(shown: Screen) -> Screen | None:
    """Return the console for progress; None if stderr is not a terminal.

    If the results go to the same terminal, it is their console, which prints them above the progress.
    """
    if not sys.stderr.isatty():
        return None
    console = shown if sys.stdout.isatty() and shown.file is sys.stdout else messages()
    return None if console.is_dumb_terminal else console


def is_piped() -> bool:
    """Whether stdout is a pipe to another program, which may itself write to the terminal."""
    return stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)


def replace_unencodable() -> None:
    """Print characters that the terminal's encoding lacks as "?", instead of raising UnicodeEncodeError."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="replace")


def printable(text: str) -> str:
    """Return the text on one line, with control characters replaced: they could control the terminal."""
    return "".join(each if each.isprintable() else " " if each.isspace() else "\ufffd" for each in text)
