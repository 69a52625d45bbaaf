"""The files of a table: one file, or those of a folder."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from embedwire.batch.sources import files
from embedwire.batch.sources.files import Store
from embedwire.batch.sources.local import LocalStore
from embedwire.batch.sources.references import References


class Table(NamedTuple):
    """One file of rows.

    Attributes:
        name: its name, or its path relative to the folder.
        path: its path in the store.
        references: finds the files that it names.
    """

    name: str
    path: str
    references: References


class Tables:
    """The files of a table, in the order of their names.

    Args:
        store: where they are.
        path: path of a file or folder.
        suffixes: suffixes of the files of a folder; others are ignored.
        is_folder: whether it is a folder.
        checksum: whether versions of the files that they name are hashes of the content.

    Attributes:
        store: where they are.
    """

    def __init__(self, store: Store, path: str, suffixes: Sequence[str], *, is_folder: bool, checksum: bool) -> None:
        self.store = store
        self._path = path
        self._suffixes = suffixes
        self._is_folder = is_folder
        self._checksum = checksum

    @property
    def is_quick(self) -> bool:
        """Whether the files can be opened without many requests."""
        return not self._is_folder or isinstance(self.store, LocalStore)

    def found(self, ignored: Counter[str]) -> Iterator[Table]:
        """Yield the files.

        Args:
            ignored: counts the other files of the folder by suffix.

        Raises:
            OSError: a folder cannot be read.
        """
        if not self._is_folder:
            yield self._table(self._path.rpartition("/")[2], self._path)
            return
        for name, entry in files.walk(self.store, self._path, ignored):
            if files.suffix(name) not in self._suffixes:
                ignored[files.suffix(name)] += 1
            elif entry.error is not None:
                raise entry.error
            else:
                yield self._table(name, entry.path)

    def _table(self, name: str, path: str) -> Table:
        folder = path.rpartition("/")[0] or ("/" if path.startswith("/") else "")
        return Table(name, path, References(self.store, folder, checksum=self._checksum))
