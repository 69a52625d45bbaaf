"""Atomic writes of files: a temporary file in the same folder, synchronised with the disk and renamed."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that replaces `path` when the block ends, and is on the disk then.

    Until then it has the name of `temporary(path)`. After an exception it is removed, and an existing file is kept.

    Raises:
        OSError: it cannot be written, for instance because the disk is full. `filename` names the file.
    """
    part = temporary(path)
    with _named(path, part):
        try:
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the cause
                part.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def temporary(path: Path) -> Path:
    """Return the name of a file while it is written. Hidden, so that no reader of the folder takes it for a part."""
    return path.with_name(f".{path.name}.part")


@contextlib.contextmanager
def _named(path: Path, part: Path) -> Iterator[None]:
    """Name the file in errors of the system, which name none or the temporary one."""
    try:
        yield
    except OSError as error:
        if error.filename not in {None, str(part)}:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _sync_folder(folder: Path) -> None:
    """Write the entries of a folder to the disk, so that a renamed file is found after a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot synchronise folders
            raise
    finally:
        os.close(descriptor)
