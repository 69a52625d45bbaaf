"""Lines of a file or of standard input, with bounded memory."""

from collections.abc import Iterator
from typing import IO

from embedwire.batch.sources.building import MAX_TEXT_BYTES
from embedwire.batch.sources.files import Store
from embedwire.batch.sources.local import STDIN, LocalStore

_BLOCK_BYTES = 1 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Lines:
    """The lines of a text file that are not blank, without their line ends.

    Args:
        store: where the file is.
        path: path of the file.
    """

    def __init__(self, store: Store, path: str) -> None:
        self._store = store
        self._path = path

    def __iter__(self) -> Iterator[tuple[int, bytes | None]]:
        """Yield the index of each line, from 0, and the line; None for one that is too long.

        Raises:
            OSError: the file cannot be read.
        """
        with self._store.open(self._path) as file:
            index = 0
            while line := file.readline(MAX_TEXT_BYTES + 1):
                is_long = len(line) > MAX_TEXT_BYTES
                if is_long:
                    _skip_line(file, line)
                elif index == 0:
                    line = line.removeprefix(_BYTE_ORDER_MARK)
                if line.strip():
                    yield index, None if is_long else line.removesuffix(b"\n").removesuffix(b"\r")
                index += 1

    def count(self) -> int | None:
        """Return the number of lines of a local file; None for others.

        Raises:
            OSError: the file cannot be read.
        """
        if self._path == STDIN or not isinstance(self._store, LocalStore):
            return None
        return sum(1 for _ in self) if self._store.entry(self._path).kind == "file" else None


def _skip_line(file: IO[bytes], line: bytes) -> None:
    while line and not line.endswith(b"\n"):
        line = file.readline(_BLOCK_BYTES)
