"""Outputs of a command: files of --output, which are replaced when they are complete, and errors of writing."""

import contextlib
import io
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import typer


class OutputError(OSError):
    """The output cannot be written. `filename` names it."""


@contextlib.contextmanager
def writing(name: str) -> Iterator[None]:
    """Name the output in errors of writing it.

    Args:
        name: the name of a file, or "stdout".

    Raises:
        BrokenPipeError: the reader of the output closed it.
        OutputError: the output cannot be written, for instance because the disk is full.
    """
    try:
        yield
    except (BrokenPipeError, OutputError):
        raise
    except OSError as error:
        raise OutputError(error.errno, error.strerror, name) from error


def flush_stdout() -> None:
    """Write what is buffered for stdout. On an error, discard it: Python would fail again at exit.

    Raises:
        BrokenPipeError: the reader closed it.
        OutputError: it cannot be written.
    """
    try:
        with writing("stdout"):
            sys.stdout.flush()
    except OSError:
        discard_stdout()
        raise


def discard_stdout() -> None:
    """Discard what is buffered for stdout, and what is written to it from now on."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def open_streamed(path: Path) -> Iterator[IO[str]]:
    """Open a text file that is written line by line, as `open_atomic` does.

    After an exception, such as an interrupt, the lines that were written are kept beside it, with a note.

    Raises:
        BadParameter: it cannot be opened.
        OutputError: it cannot be written.
    """
    with _replaced(path, keeps_part=True) as binary:
        file = io.TextIOWrapper(binary, encoding="utf-8", write_through=True)
        yield file
        file.detach()


@contextlib.contextmanager
def open_atomic(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for an atomic write: a temporary file in the same directory, renamed at the end.

    An existing file is kept if nothing is written or an exception is raised. A file that is not regular, for instance
    /dev/stdout, cannot be replaced and is written directly.

    Raises:
        BadParameter: it cannot be opened.
        OutputError: it cannot be written.
    """
    with _replaced(path, keeps_part=False) as file:
        yield file


def discard(file: IO[str]) -> None:
    """Discard what was written to a regular file, so that an existing file is kept."""
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.seek(0)
        file.truncate()


@contextlib.contextmanager
def _replaced(path: Path, *, keeps_part: bool) -> Iterator[IO[bytes]]:
    if path.exists() and not path.is_file():
        with _usage_errors(path):
            file = path.open("wb")
        with writing(str(path)), file:
            yield file
        return
    target = path.resolve()  # a symbolic link is kept
    part = target.with_name(f"{target.name[:100]}.{secrets.token_hex(4)}.part")
    with _usage_errors(path):
        file = part.open("xb")
    is_kept = False
    try:
        with _closing(file, str(path)):
            yield file
        if part.stat().st_size:
            with writing(str(path)):
                part.replace(target)
    except BaseException:
        is_kept = keeps_part and part.stat().st_size > 0
        if is_kept:
            sys.stderr.write(f"note: the output until then is in {part}\n")
        raise
    finally:
        if not is_kept:
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def _closing(file: IO[bytes], name: str) -> Iterator[None]:
    """Close a file, whose last bytes are written then."""
    try:
        yield
    finally:
        with writing(name):
            file.close()


@contextlib.contextmanager
def _usage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint="--output") from None
