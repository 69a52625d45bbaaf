"""The values of --text, --image and --audio as inputs of a call."""

import contextlib
import dataclasses
import errno
import io
import os
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer

from embedwire.cli.terminal import printable
from embedwire.inputs import Audio, Image, Input, Text, Truncate

Sent = Callable[[bytes], object]
STDIN = "-"
_KEY_BYTES = 256
_NAME_LENGTH = 60


@dataclasses.dataclass(frozen=True, slots=True)
class Given:
    """One input as the command line gave it.

    Attributes:
        kind: "text", "image" or "audio".
        value: the text, path or URL, or "-".
    """

    kind: str
    value: str

    @property
    def option(self) -> str:
        """The option that gave it."""
        return f"--{self.kind}"

    @property
    def is_file(self) -> bool:
        """Whether its bytes are sent by this command."""
        return self.kind != "text" and not self.value.lower().startswith(("http://", "https://"))

    @property
    def name(self) -> str:
        """What people see: a text in quotation marks, else the name of the file, or the URL."""
        if self.value == STDIN:
            return "stdin"
        if self.kind == "text":
            return f'"{_shortened(self.value)}"'
        if self.is_file:
            return _shortened(Path(self.value).name or self.value)
        return _shortened(re.split(r"[?#]", self.value)[0])  # what follows may be a credential

    @property
    def key(self) -> str:
        """What programs see: the value itself, as far as it fits into a key of the contract."""
        value = self.value.encode(errors="replace")
        return value.decode() if len(value) <= _KEY_BYTES else value[: _KEY_BYTES - 3].decode(errors="ignore") + "…"


def _shortened(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= _NAME_LENGTH else shown[: _NAME_LENGTH - 1] + "…"


class CountedFile(io.FileIO):
    """A file that tells what is read from it.

    It has no buffer, and so no lock: after Ctrl-C it can be closed while gRPC's thread still waits for a pipe.

    Args:
        given: names the file, or is stdin, which stays open.
        sent: told each chunk, the last of which is empty.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, given: Given, sent: Sent) -> None:
        is_stdin = given.value == STDIN
        super().__init__(0 if is_stdin else given.value, closefd=not is_stdin)
        self._sent = sent

    def read(self, size: int | None = -1, /) -> bytes:
        """Read and tell.

        Raises:
            BlockingIOError: a file that does not block has nothing now, which is not its end.
        """
        chunk = super().read(size)
        if chunk is None:
            raise BlockingIOError(errno.EAGAIN, "the file does not block; give one that does")
        self._sent(chunk)
        return chunk


class Opening:
    """Makes the inputs of a call; the files stay open as long as the stack.

    Args:
        stack: closes the files.
        sent: told each chunk that is read.
        truncate: for texts.
        start_offset_sec: for audio.
    """

    def __init__(
        self, stack: contextlib.ExitStack, sent: Sent, truncate: Truncate | None, start_offset_sec: float | None
    ) -> None:
        self.files = 0
        self.bytes: int | None = 0
        self._stack = stack
        self._sent = sent
        self._truncate = truncate
        self._start_offset_sec = start_offset_sec

    def inputs(self, given: Sequence[Given]) -> list[Input]:
        """All of them.

        Raises:
            BadParameter: a value cannot be used.
        """
        readers = [each for each in given if each.value == STDIN]
        for each in readers[1:]:
            raise typer.BadParameter("standard input can be read only once", param_hint=each.option)
        return [self._input(each) for each in given]

    def _input(self, given: Given) -> Input:
        if given.kind == "text":
            return Text(_text(given), key=given.key, truncate=self._truncate)
        source = self._source(given) | {"key": given.key}
        if given.kind == "image":
            return Image(**source)
        return Audio(**source, start_offset_sec=self._start_offset_sec)

    def _source(self, given: Given) -> dict[str, Any]:
        if not given.is_file:
            return {"url": given.value}
        try:
            file = self._stack.enter_context(CountedFile(given, self._sent))
        except OSError as error:
            fault = f"{printable(given.value)!r}: {error.strerror}"
            raise typer.BadParameter(fault, param_hint=given.option) from None
        self._expect(file)
        # What is not UTF-8 or not printable cannot travel; the media type follows the name as it does for a path.
        name = "" if given.value == STDIN else printable(Path(given.value).name.encode(errors="replace").decode())
        return {"file": file, "file_name": name}

    def _expect(self, file: io.FileIO) -> None:
        found = os.stat(file.fileno())  # noqa: PTH116 - it may be stdin
        self.files += 1
        is_sized = stat.S_ISREG(found.st_mode) and self.bytes is not None
        self.bytes = (self.bytes or 0) + found.st_size if is_sized else None


def _text(given: Given) -> str:
    """The text itself.

    Raises:
        BadParameter: it is no UTF-8.
    """
    try:
        if given.value == STDIN:
            return io.FileIO(0, closefd=False).readall().decode().removesuffix("\n").removesuffix("\r")
        given.value.encode()
    except UnicodeError:
        raise typer.BadParameter("the text is not UTF-8", param_hint=given.option) from None
    except OSError as error:
        raise typer.BadParameter(f"stdin: {error.strerror}", param_hint=given.option) from None
    return given.value


def check_output(given: Sequence[Given], output: Path | None) -> None:
    """Refuse to write over an input.

    Raises:
        BadParameter: the output is one of the inputs.
    """
    if output is None or not output.is_file():
        return
    for each in given:
        if each.is_file and Path(each.value).is_file() and output.samefile(each.value):
            raise typer.BadParameter(f"is also the input {each.name}", param_hint="--output")


def check_companions(given: Sequence[Given], truncate: Truncate | None, start_offset_sec: float | None) -> None:
    """Refuse what would otherwise be without any effect, and a call without inputs.

    Raises:
        BadParameter: an option has nothing that it is for.
    """
    kinds = {each.kind for each in given}
    if not given:
        raise typer.BadParameter("give at least one", param_hint="--text, --image, --audio")
    if truncate is not None and "text" not in kinds:
        raise typer.BadParameter("is for texts, and there is none", param_hint="--truncate")
    if start_offset_sec is not None and "audio" not in kinds:
        raise typer.BadParameter("is for audio, and there is none", param_hint="--start-offset")
