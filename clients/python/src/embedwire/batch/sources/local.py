"""The local file system as a store."""

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from embedwire.batch.sources.files import Entry

STDIN = "-"


class LocalStore:
    """The local file system. Symbolic links are followed."""

    def entries(self, folder: str) -> Iterator[Entry]:
        """Yield the entries of a folder, sorted by name."""
        for name in sorted(os.listdir(folder)):  # noqa: PTH208 - names only: a folder may have 300,000 files
            path = os.path.join(folder, name)  # noqa: PTH118 - the same
            try:
                yield self.entry(path)
            except OSError as error:
                yield Entry(name, path, "other", error=error)

    def entry(self, path: str) -> Entry:
        """Return the attributes of a file or a folder."""
        found = os.stat(path)  # noqa: PTH116 - a string is enough
        name = os.path.basename(path)  # noqa: PTH119 - the same
        if stat.S_ISDIR(found.st_mode):
            return Entry(name, path, "folder", identity=(found.st_dev, found.st_ino))
        if not stat.S_ISREG(found.st_mode):
            return Entry(name, path, "other")
        return Entry(name, path, "file", found.st_size, f"{found.st_size}-{found.st_mtime_ns}")

    def join(self, folder: str, path: str) -> str:
        """Return a path relative to a folder, or an absolute path."""
        return os.path.join(folder, path)  # noqa: PTH118 - keeps the path as it is given

    def open(self, path: str) -> IO[bytes]:
        """Open a file for reading."""
        return Path(path).open("rb")

    def content(self, entry: Entry) -> dict[str, Any]:
        """Return the path as the argument of an `Image` or `Audio`."""
        return {"path": entry.path}


class StandardInput(LocalStore):
    """The local file system, whose file "-" is standard input. That can be read once."""

    def __init__(self) -> None:
        self._is_used = False

    def open(self, path: str) -> IO[bytes]:
        """Open a file or standard input for reading.

        Raises:
            OSError: it cannot be read, or standard input was read before.
        """
        if path != STDIN:
            return super().open(path)
        if self._is_used:
            raise OSError("standard input can be read once; give a file")
        if not os.get_blocking(0):
            raise OSError("standard input does not block; give one that does")
        self._is_used = True
        return io.BufferedReader(io.FileIO(0, closefd=False))
