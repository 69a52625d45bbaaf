"""Output files of --output."""

import contextlib
import io
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import typer


@contextlib.contextmanager
def open_streamed(path: Path) -> Iterator[IO[str]]:
    """Open a text file that is written line by line.

    Raises:
        BadParameter: it cannot be opened.
    """
    with _usage_errors(path):
        file = _TruncateOnFirstWrite(os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), "wb"), encoding="utf-8")
    with file:
        yield file


class _TruncateOnFirstWrite(io.TextIOWrapper):
    """Text file that is truncated by the first write: a command that fails before leaves the old content."""

    _has_written = False

    def write(self, text: str, /) -> int:
        """Write; truncate a regular file before the first write."""
        if not self._has_written:
            self._has_written = True
            if stat.S_ISREG(os.fstat(self.fileno()).st_mode):
                self.truncate(0)
        return super().write(text)


@contextlib.contextmanager
def open_atomic(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for an atomic write: a temporary file in the same directory, renamed at the end.

    An existing file is kept if nothing is written or an exception is raised. A file that is not regular, for instance
    /dev/stdout, cannot be replaced and is written directly.

    Raises:
        BadParameter: it cannot be opened.
    """
    if path.exists() and not path.is_file():
        with _usage_errors(path):
            file = path.open("wb")
        with file:
            yield file
        return
    target = path.resolve()  # a symbolic link is kept
    part = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.part")
    with _usage_errors(path):
        file = part.open("xb")
    try:
        with file:
            yield file
        if part.stat().st_size:
            part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _usage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint="--output") from None
