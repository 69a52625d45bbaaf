"""The inputs of the command line, and the checks of all of them before the call."""

import dataclasses
import enum
import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from embedwire.cli.audio import AudioOptions
from embedwire.cli.terminal import printable
from embedwire.options import is_utf8

KINDS = ("text", "image", "audio")
STDIN = "-"
_KEY_BYTES = 256
_NAME_LENGTH = 60
_PATTERN = re.compile(r"[*?\[]")


class CutEnd(enum.StrEnum):
    """Values of `Text.truncate`; an enum, since older versions of typer know no literals."""

    NONE = "none"
    START = "start"
    END = "end"


@dataclasses.dataclass(frozen=True, slots=True)
class InputArgument:
    """One input.

    Attributes:
        kind: "text", "image" or "audio".
        value: the text, path or URL, or "-" for standard input.
        line: number of the line of standard input that it is, from 1; 0 if it is none. A line "-" is a text.
        is_task: whether the value is the identifier of an earlier task.
    """

    kind: str
    value: str
    line: int = 0
    is_task: bool = False

    @property
    def option(self) -> str:
        """The name of the option."""
        return "--resume-task" if self.is_task else f"--{self.kind}"

    @property
    def is_stdin(self) -> bool:
        """Whether its content is standard input."""
        return self.value == STDIN and not self.line and not self.is_task

    @property
    def is_file(self) -> bool:
        """Whether it is a local file or standard input, and not a text or a URL."""
        return self.kind != "text" and not self.is_task and not self.value.lower().startswith(("http://", "https://"))

    @property
    def name(self) -> str:
        """The display name: a text in quotation marks, the name of a file, or a URL without its query."""
        if self.is_stdin:
            return "stdin"
        if self.is_task:
            return f"task {_shorten(self.value)}"
        if self.kind == "text":
            return f'"{_shorten(self.value)}"'
        if self.is_file:
            return _shorten(Path(self.value).name or self.value)
        return _shorten(re.split(r"[?#]", self.value)[0])  # the query may contain a credential

    @property
    def label(self) -> str:
        """The name in messages, as the user gave it: also the folders of a file, and the number of a line."""
        if self.is_file and not self.is_stdin:
            return printable(self.value)
        return f"line {self.line}, {self.name}" if self.line else self.name

    @property
    def key(self) -> str:
        """The key of the input: the value, truncated to the length of a key."""
        value = self.value.encode(errors="replace")
        return value.decode() if len(value) <= _KEY_BYTES else value[: _KEY_BYTES - 3].decode(errors="ignore") + "…"


def _shorten(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= _NAME_LENGTH else shown[: _NAME_LENGTH - 1] + "…"


def expand(given: InputArgument) -> Iterator[InputArgument]:
    """Yield the files that match a pattern, sorted by name; a text, a URL or the name of a file unchanged.

    Raises:
        BadParameter: no file matches the pattern.
    """
    if not given.is_file or not _PATTERN.search(given.value) or os.path.lexists(given.value):
        yield given
        return
    matches = glob.iglob(given.value, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
    found = sorted(path for path in matches if not Path(path).is_dir())
    if not found:
        raise typer.BadParameter(f"{printable(given.value)!r}: no file matches this pattern", param_hint=given.option)
    for path in found:
        yield InputArgument(given.kind, path)


def check_inputs(given: Sequence[InputArgument], truncate: CutEnd | None, audio: AudioOptions) -> None:
    """Check that there are inputs, that each can be read, and that each option has an input that it applies to.

    Raises:
        BadParameter: an input or an option is invalid.
    """
    kinds = {each.kind for each in given if not each.is_task}  # a task has its options already
    if not given:
        raise typer.BadParameter("give at least one", param_hint="--text, --image, --audio")
    if truncate is not None and "text" not in kinds:
        raise typer.BadParameter("is for texts, and there is none", param_hint="--truncate")
    if audio.flags and "audio" not in kinds:
        raise typer.BadParameter("is for audio, and there is none", param_hint=audio.flags[0])
    for each in [each for each in given if each.is_stdin][1:]:
        raise typer.BadParameter("standard input can be read only once", param_hint=each.option)
    for each in given:
        if fault := _fault(each):
            raise typer.BadParameter(fault, param_hint=each.option)


def _fault(given: InputArgument) -> str:
    """Return why an input cannot be read; empty if it can."""
    if given.is_stdin:
        return ""
    if given.kind == "text" or given.is_task:
        return "" if is_utf8(given.value) else f"the {'task' if given.is_task else 'text'} is not UTF-8"
    if not given.is_file:
        return ""
    try:
        is_directory = stat.S_ISDIR(Path(given.value).stat().st_mode)
    except OSError as error:
        return f"{printable(given.value)!r}: {error.strerror}"
    return f"{printable(given.value)!r}: Is a directory" if is_directory else ""


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
