"""Texts of --lines: one for each line of standard input."""

import codecs
import contextlib
import io
import itertools
import os
from collections.abc import Iterator

import typer

from embedwire.cli.given import InputArgument

_OPTION = "--lines"
MAX_LINE_BYTES = 1 << 20  # bounds the memory; the default limit of a text is 64 KiB


class StdinLines:
    r"""The lines of standard input, in UTF-8, without their line ends (\n or \r\n). Blank lines are skipped.

    A line that is not UTF-8 is yielded with surrogates, so that only its input fails.

    Attributes:
        blank: number of blank lines.
        first_blank: number of the first one, from 1; 0 if there is none.

    Raises:
        BadParameter: standard input is closed or does not block.
    """

    def __init__(self) -> None:
        self.blank = self.first_blank = 0
        with _usage_errors():
            if not os.get_blocking(0):
                raise typer.BadParameter("standard input does not block; give one that does", param_hint=_OPTION)
            # Opened before the connection, which would get the number of a closed standard input.
            self._file = io.BufferedReader(io.FileIO(0, closefd=False))

    def __iter__(self) -> Iterator[InputArgument]:
        """Yield the lines as they arrive.

        Raises:
            BadParameter: standard input cannot be read, or a line is too long.
        """
        for number in itertools.count(1):
            with _usage_errors():
                line = self._file.readline(MAX_LINE_BYTES + 1)
            if not line:
                return
            if text := self._text(line, number):
                yield InputArgument("text", text, number)

    @property
    def note(self) -> str:
        """One sentence about the blank lines; empty if there were none."""
        if self.blank == 1:
            return f"line {self.first_blank} is blank and was skipped"
        return f"{self.blank} blank lines were skipped, the first is line {self.first_blank}" if self.blank else ""

    def _text(self, line: bytes, number: int) -> str:
        """Return the text of a line; empty if it is blank."""
        if len(line) > MAX_LINE_BYTES:
            raise typer.BadParameter(f"line {number} is longer than {MAX_LINE_BYTES} bytes", param_hint=_OPTION)
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        text = line.removesuffix(b"\n").removesuffix(b"\r").decode(errors="surrogateescape")
        if text.strip():
            return text
        self.blank += 1
        self.first_blank = self.first_blank or number
        return ""


@contextlib.contextmanager
def _usage_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise typer.BadParameter(f"stdin: {error.strerror}", param_hint=_OPTION) from None
