"""A list of files and URLs: one for each line."""

from collections import Counter
from collections.abc import Iterator
from functools import partial

from embedwire.batch.records import InvalidRecord, Record
from embedwire.batch.sources import building, files
from embedwire.batch.sources.ahead import in_order
from embedwire.batch.sources.building import Fault
from embedwire.batch.sources.lines import Lines
from embedwire.batch.sources.references import References

_TYPES = ", ".join(files.TYPES)


class ListSource:
    """The files and URLs of a list. Their keys are the lines.

    Args:
        lines: the lines.
        references: finds the files.

    Attributes:
        ignored: always empty.
    """

    def __init__(self, lines: Lines, references: References) -> None:
        self.ignored: Counter[str] = Counter()
        self._lines = lines
        self._references = references

    def __iter__(self) -> Iterator[Record | InvalidRecord]:
        """Yield the records.

        Raises:
            OSError: the list or a bucket cannot be read.
        """
        yield from in_order(
            (self._references.is_remote(_name(line)), partial(self._record, f"line {index + 1}", _name(line)))
            for index, line in self._lines
        )

    def count(self) -> int | None:
        """Return the number of lines of a local list.

        Raises:
            OSError: the list cannot be read.
        """
        return self._lines.count()

    def _record(self, place: str, name: str | None) -> Record | InvalidRecord:
        if name is None or (fault := building.key_fault(name)):
            fault = f"must have at most {building.MAX_KEY_BYTES} bytes" if name is None else fault
            return building.invalid(place, f"{place}: {fault}")
        modality = files.url_modality(name) if files.is_url(name) else files.modality(name)
        if modality is None:
            fault = f"the name must end with one of {_TYPES}; JSON lines can name other files"
            return building.invalid(name, f"{place}: {fault}")
        try:
            return self._references.record(name, modality, name, {})
        except Fault as error:
            return building.invalid(name, f"{place}: {error}")


def _name(line: bytes | None) -> str | None:
    return None if line is None else line.decode(errors="surrogateescape")
