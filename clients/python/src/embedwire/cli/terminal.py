"""Where text is shown: one console for each of stdout and stderr, or one for both on a terminal."""

import errno
import os
import stat
import sys
from typing import IO, Any, NoReturn

from rich.console import Console


class Screen(Console):
    """A console that has a width in any case, and leaves a reader who went away to the caller."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - those of a console
        super().__init__(*args, **options)
        if self.width < 1:  # COLUMNS=0, which means that nobody knows
            self.width = 80

    def on_broken_pipe(self) -> NoReturn:
        """Say it with the usual exception."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def rows(file: IO[str] | None = None) -> Screen:
    """Where the answer goes: a file, or else stdout."""
    return Screen(file=file or sys.stdout, highlight=False, emoji=False)


def messages() -> Screen:
    """Where everything else goes."""
    return Screen(stderr=True, highlight=False, emoji=False, soft_wrap=True)


def progress(shown: Screen) -> Screen | None:
    """Where progress can be shown; None if stderr is no terminal.

    If the rows go to the same terminal it is their console, which then keeps both apart.
    """
    if not sys.stderr.isatty():
        return None
    console = shown if sys.stdout.isatty() and shown.file is sys.stdout else messages()
    return None if console.is_dumb_terminal else console


def is_piped() -> bool:
    """Whether stdout goes to another program, which may well write to the terminal itself."""
    return stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)


def tolerate_any_encoding() -> None:
    """Show what the terminal's encoding lacks as question marks, rather than fail in the middle of an answer."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="replace")


def printable(text: str) -> str:
    """The text on one line and without control characters, which could otherwise steer the terminal."""
    return "".join(each if each.isprintable() else " " if each.isspace() else "\ufffd" for each in text)
