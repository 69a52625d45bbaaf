"""Conversion of the inputs of the command line to inputs of a call."""

import contextlib
import errno
import io
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import typer

from embedwire.cli.audio import AudioOptions
from embedwire.cli.given import CutEnd, InputArgument
from embedwire.cli.terminal import printable
from embedwire.inputs import Audio, Image, Input, Text, Truncate

OnChunk = Callable[[bytes], object]


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
        super().__init__(0 if given.is_stdin else given.value, closefd=not given.is_stdin)
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


class InputBuilder:
    """Builder of the inputs of a call or a run.

    Args:
        stack: closes the files that are opened before the call.
        on_chunk: called with each chunk that is read from these.
        truncate: truncation of texts.
        audio: options of audio.

    Attributes:
        files: number of files that were opened.
        bytes: total size of these files; None if the size of one is unknown.
    """

    def __init__(
        self, stack: contextlib.ExitStack, on_chunk: OnChunk, truncate: CutEnd | None, audio: AudioOptions
    ) -> None:
        self.files = 0
        self.bytes: int | None = 0
        self._stack = stack
        self._on_chunk = on_chunk
        self._truncate = truncate
        self._audio = audio

    def opened(self, given: Sequence[InputArgument]) -> list[Input]:
        """Build the inputs of a call, and open their files.

        Raises:
            BadParameter: a file cannot be opened, or a text cannot be read.
        """
        return [self._input(each, self._opened) for each in given]

    def unopened(self, given: InputArgument) -> Input:
        """Build one input of a run, whose file is opened when it is sent: a run may have more than can be open.

        Raises:
            BadParameter: a text cannot be read from stdin.
        """
        return self._input(given, self._opened if given.is_stdin else _path)

    def reopened(self, given: InputArgument, used: Input) -> Input | None:
        """Return an input of an earlier call for another one, with its file opened again.

        Returns:
            The input; None if its content, of standard input or a pipe, can be read only once.

        Raises:
            BadParameter: the file cannot be opened.
        """
        if given.kind == "text" or not given.is_file:
            return used
        return None if given.is_stdin or not Path(given.value).is_file() else self._input(given, self._opened)

    def _input(self, given: InputArgument, source: Callable[[InputArgument], dict[str, Any]]) -> Input:
        if given.kind == "text":
            truncate = None if self._truncate is None else cast("Truncate", str(self._truncate))
            return Text(_text(given), key=given.key, truncate=truncate)
        if given.is_task:
            return Audio(task_id=given.value, key=given.key)
        arguments = (source(given) if given.is_file else {"url": given.value}) | {"key": given.key}
        if given.kind == "image":
            return Image(**arguments)
        return Audio(**arguments, **self._audio.arguments)

    def _opened(self, given: InputArgument) -> dict[str, Any]:
        try:
            file = self._stack.enter_context(CountedFile(given, self._on_chunk))
        except OSError as error:
            fault = f"{printable(given.value)!r}: {error.strerror}"
            raise typer.BadParameter(fault, param_hint=given.option) from None
        self._add_size(file)
        return {"file": file, "file_name": _file_name(given)}

    def _add_size(self, file: io.FileIO) -> None:
        found = os.stat(file.fileno())  # noqa: PTH116 - it may be stdin
        self.files += 1
        is_sized = stat.S_ISREG(found.st_mode) and self.bytes is not None
        self.bytes = (self.bytes or 0) + found.st_size if is_sized else None


def _path(given: InputArgument) -> dict[str, Any]:
    return {"path": given.value, "file_name": _file_name(given)}


def _file_name(given: InputArgument) -> str:
    """Return the name to send: printable UTF-8, as the contract requires. The media type is guessed from it."""
    return "" if given.is_stdin else printable(Path(given.value).name.encode(errors="replace").decode())


def _text(given: InputArgument) -> str:
    """Return the text, from stdin if the value is "-".

    Raises:
        BadParameter: stdin is not UTF-8 or cannot be read.
    """
    if not given.is_stdin:
        return given.value
    try:
        return io.FileIO(0, closefd=False).readall().decode().removesuffix("\n").removesuffix("\r")
    except UnicodeError:
        raise typer.BadParameter("the text is not UTF-8", param_hint=given.option) from None
    except OSError as error:
        raise typer.BadParameter(f"stdin: {error.strerror}", param_hint=given.option) from None
