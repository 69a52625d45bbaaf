"""The file that --output names."""

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
def streamed(path: Path) -> Iterator[IO[str]]:
    """A file that grows line by line.

    Raises:
        BadParameter: it cannot be opened.
    """
    with _usage_errors(path):
        file = _Late(os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), "wb"), encoding="utf-8")
    with file:
        yield file


class _Late(io.TextIOWrapper):
    """A text file that loses its earlier content with the first write, so not before there is something to write."""

    _is_begun = False

    def write(self, text: str, /) -> int:
        """Write, after whatever has to go first."""
        if not self._is_begun:
            self._is_begun = True
            if stat.S_ISREG(os.fstat(self.fileno()).st_mode):
                self.truncate(0)
        return super().write(text)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that is there whole or not at all: written beside its place, then renamed into it.

    Nothing takes the place of an earlier file if nothing was written, or if something is raised. What is no
    regular file, for instance /dev/stdout, cannot be replaced and is written as it is.

    Raises:
        BadParameter: it cannot be opened.
    """
    if path.exists() and not path.is_file():
        with _usage_errors(path):
            file = path.open("wb")
        with file:
            yield file
        return
    target = path.resolve()  # a link stays one
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
