"""A folder or a bucket: one input for each file."""

from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial

from embedwire.batch.records import InvalidRecord, Modality, Record
from embedwire.batch.sources import building, files
from embedwire.batch.sources.ahead import in_order
from embedwire.batch.sources.files import Entry, Store
from embedwire.batch.sources.local import LocalStore


class FolderSource:
    """The files of a folder and those below it, in the order of their names. Their keys are their relative paths.

    Args:
        store: where the folder is.
        folder: its path.
        include: patterns of relative paths, for instance "*.png", of which one must match; empty means all.
        checksum: whether versions are hashes of the content.

    Attributes:
        ignored: number of files of unsupported types, by suffix.
    """

    def __init__(self, store: Store, folder: str, include: Sequence[str], *, checksum: bool) -> None:
        self.ignored: Counter[str] = Counter()
        self._store = store
        self._folder = folder
        self._include = include
        self._checksum = checksum

    def __iter__(self) -> Iterator[Record | InvalidRecord]:
        """Yield the records.

        Raises:
            OSError: a folder cannot be read.
        """
        self.ignored.clear()
        is_remote = not isinstance(self._store, LocalStore)
        yield from in_order(
            (is_remote and (modality == "text" or self._checksum), partial(self._record, path, modality, entry))
            for path, modality, entry in self._found(self.ignored)
        )

    def count(self) -> int | None:
        """Return the number of files of a local folder.

        Raises:
            OSError: a folder cannot be read.
        """
        return sum(1 for _ in self._found(Counter())) if isinstance(self._store, LocalStore) else None

    def _found(self, ignored: Counter[str]) -> Iterator[tuple[str, Modality, Entry]]:
        for path, entry in files.walk(self._store, self._folder, ignored):
            if self._include and not any(fnmatchcase(path, pattern) for pattern in self._include):
                continue
            modality = files.modality(entry.name)
            if modality is not None:
                yield path, modality, entry
            elif isinstance(entry.error, PermissionError):  # it may be a folder
                raise entry.error
            else:
                ignored[files.suffix(entry.name)] += 1

    def _record(self, path: str, modality: Modality, entry: Entry) -> Record | InvalidRecord:
        if fault := building.key_fault(path):
            return building.invalid(path, f"{fault}; rename the file")
        try:
            return building.of_file(path, modality, (self._store, entry), {}, checksum=self._checksum)
        except building.Fault as error:
            return building.invalid(path, str(error))
