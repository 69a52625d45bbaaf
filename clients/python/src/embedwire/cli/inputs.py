"""Conversion of --text, --image and --audio to inputs of a call."""

import contextlib
import dataclasses
import enum
import errno
import io
import os
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import typer

from embedwire.cli.terminal import printable
from embedwire.inputs import Audio, Image, Input, Text, Truncate

OnChunk = Callable[[bytes], object]
STDIN = "-"
_KEY_BYTES = 256
_NAME_LENGTH = 60


class CutEnd(enum.StrEnum):
    """Values of `Text.truncate`; an enum, since older versions of typer know no literals."""

    NONE = "none"
    START = "start"
    END = "end"


@dataclasses.dataclass(frozen=True, slots=True)
class InputArgument:
    """One input of the command line.

    Attributes:
        kind: "text", "image" or "audio".
        value: the text, path or URL, or "-".
    """

    kind: str
    value: str

    @property
    def option(self) -> str:
        """The name of the option."""
        return f"--{self.kind}"

    @property
    def is_file(self) -> bool:
        """Whether it is a local file or stdin, and not a text or a URL."""
        return self.kind != "text" and not self.value.lower().startswith(("http://", "https://"))

    @property
    def name(self) -> str:
        """The display name: a text in quotation marks, the name of a file, or a URL without its query."""
        if self.value == STDIN:
            return "stdin"
        if self.kind == "text":
            return f'"{_shorten(self.value)}"'
        if self.is_file:
            return _shorten(Path(self.value).name or self.value)
        return _shorten(re.split(r"[?#]", self.value)[0])  # the query may contain a credential

    @property
    def key(self) -> str:
        """The key of the input: the value, truncated to the length of a key."""
        value = self.value.encode(errors="replace")
        return value.decode() if len(value) <= _KEY_BYTES else value[: _KEY_BYTES - 3].decode(errors="ignore") + "…"


def _shorten(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= _NAME_LENGTH else shown[: _NAME_LENGTH - 1] + "…"


class CountedFile(io.FileIO):
    """File that reports each chunk that is read.

    It is unbuffered, and so has no lock: after Ctrl-C it can be closed while gRPC's thread still reads from a pipe.

    Args:
        given: the file, or stdin, which is not closed.
        on_chunk: called with each chunk; the last one is empty.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, given: InputArgument, on_chunk: OnChunk) -> None:
        is_stdin = given.value == STDIN
        super().__init__(0 if is_stdin else given.value, closefd=not is_stdin)
        self._on_chunk = on_chunk

    def read(self, size: int | None = -1, /) -> bytes:
        """Read a chunk and report it.

        Raises:
            BlockingIOError: a non-blocking file has no data yet.
        """
        chunk = super().read(size)
        if chunk is None:
            raise BlockingIOError(errno.EAGAIN, "the file does not block; give one that does")
        self._on_chunk(chunk)
        return chunk


class InputOpener:
    """Builder of the inputs of a call. Opens the files; the stack closes them.

    Args:
        stack: closes the files.
        on_chunk: called with each chunk that is read.
        truncate: truncation of texts.
        start_offset_sec: start offset of audio.

    Attributes:
        files: number of files.
        bytes: total size of the files; None if the size of one is unknown.
    """

    def __init__(
        self, stack: contextlib.ExitStack, on_chunk: OnChunk, truncate: CutEnd | None, start_offset_sec: float | None
    ) -> None:
        self.files = 0
        self.bytes: int | None = 0
        self._stack = stack
        self._on_chunk = on_chunk
        self._truncate = truncate
        self._start_offset_sec = start_offset_sec

    def inputs(self, given: Sequence[InputArgument]) -> list[Input]:
        """Build the inputs.

        Raises:
            BadParameter: a value is invalid.
        """
        readers = [each for each in given if each.value == STDIN]
        for each in readers[1:]:
            raise typer.BadParameter("standard input can be read only once", param_hint=each.option)
        return [self._input(each) for each in given]

    def _input(self, given: InputArgument) -> Input:
        if given.kind == "text":
            truncate = None if self._truncate is None else cast("Truncate", str(self._truncate))
            return Text(_text(given), key=given.key, truncate=truncate)
        source = self._source(given) | {"key": given.key}
        if given.kind == "image":
            return Image(**source)
        return Audio(**source, start_offset_sec=self._start_offset_sec)

    def _source(self, given: InputArgument) -> dict[str, Any]:
        if not given.is_file:
            return {"url": given.value}
        try:
            file = self._stack.enter_context(CountedFile(given, self._on_chunk))
        except OSError as error:
            fault = f"{printable(given.value)!r}: {error.strerror}"
            raise typer.BadParameter(fault, param_hint=given.option) from None
        self._add_size(file)
        # The contract allows only printable UTF-8. The media type is guessed from this name, as for a path.
        name = "" if given.value == STDIN else printable(Path(given.value).name.encode(errors="replace").decode())
        return {"file": file, "file_name": name}

    def _add_size(self, file: io.FileIO) -> None:
        found = os.stat(file.fileno())  # noqa: PTH116 - it may be stdin
        self.files += 1
        is_sized = stat.S_ISREG(found.st_mode) and self.bytes is not None
        self.bytes = (self.bytes or 0) + found.st_size if is_sized else None


def _text(given: InputArgument) -> str:
    """Return the text, from stdin if the value is "-".

    Raises:
        BadParameter: it is not UTF-8, or stdin cannot be read.
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


def check_output(given: Sequence[InputArgument], output: Path | None) -> None:
    """Reject an output that would overwrite an input.

    Raises:
        BadParameter: the output is one of the inputs.
    """
    if output is None or not output.is_file():
        return
    for each in given:
        if each.is_file and Path(each.value).is_file() and output.samefile(each.value):
            raise typer.BadParameter(f"is also the input {each.name}", param_hint="--output")


def check_option_use(given: Sequence[InputArgument], truncate: CutEnd | None, start_offset_sec: float | None) -> None:
    """Reject a call without inputs, and options without an input that they apply to.

    Raises:
        BadParameter: there is no input, or none for an option.
    """
    kinds = {each.kind for each in given}
    if not given:
        raise typer.BadParameter("give at least one", param_hint="--text, --image, --audio")
    if truncate is not None and "text" not in kinds:
        raise typer.BadParameter("is for texts, and there is none", param_hint="--truncate")
    if start_offset_sec is not None and "audio" not in kinds:
        raise typer.BadParameter("is for audio, and there is none", param_hint="--start-offset")
