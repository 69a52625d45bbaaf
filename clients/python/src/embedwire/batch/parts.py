"""Part files of a batch: their rows, and the writers of their formats."""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

Format = Literal["parquet", "npy"]

_GROUP_BYTES = 2 << 20
_NAN = b"\x00\x00\xc0\x7f"  # little-endian float32
_OWN_FILE = re.compile(r"\.?(?:part|uncertainty)-(\d{5,})\.(?:parquet|npy|jsonl)(\.part)?")


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One row of a part: one segment of an input.

    Attributes:
        key: key of the input.
        modality: modality of the input.
        segment_index: index of the segment within the input, from 0.
        start_offset_sec: start of the window, in seconds; None unless audio.
        end_offset_sec: end of the window, in seconds; None unless audio, or if the upstream does not report it.
        embedding_option: aspect of the audio, for instance "audio"; empty unless audio, written as null then.
        embedding_scope: "clip" or "asset"; empty unless audio, written as null then.
        media_duration_sec: duration of the audio in seconds; None if the upstream does not report it.
        truncated: whether the input was truncated; None if the upstream does not report it.
        vector: embedding, little-endian float32, of shape (dimensions,).
        uncertainty: uncertainty of each value, as the vector; None if there is none, written as NaN then.
    """

    key: str
    modality: str
    segment_index: int
    start_offset_sec: float | None
    end_offset_sec: float | None
    embedding_option: str
    embedding_scope: str
    media_duration_sec: float | None
    truncated: bool | None
    vector: bytes = dataclasses.field(repr=False)
    uncertainty: bytes | None = dataclasses.field(default=None, repr=False)

    def facts(self) -> dict[str, str | float | bool | None]:
        """Return the columns without the vectors. A string that is empty because it does not apply is None."""
        return {
            "key": self.key,
            "modality": self.modality,
            "segment_index": self.segment_index,
            "start_offset_sec": self.start_offset_sec,
            "end_offset_sec": self.end_offset_sec,
            "embedding_option": self.embedding_option or None,
            "embedding_scope": self.embedding_scope or None,
            "media_duration_sec": self.media_duration_sec,
            "truncated": self.truncated,
        }


class PartWriter(Protocol):
    """Writer of part files of one format.

    Attributes:
        suffix: suffix of the file of a part, for instance ".parquet".
    """

    suffix: str

    def write(self, folder: Path, number: int, rows: Iterator[Row]) -> None:
        """Write one part, which replaces a part of the same number. It is on the disk when this returns.

        The rows are read as they are written: a few MiB of them are in memory.

        Raises:
            OSError: it cannot be written, for instance because the disk is full. `filename` names the file.
            ValueError: a vector has another length than the dimensions.
        """


def writer(format: str, dimensions: int, *, metadata: Mapping[str, str], has_uncertainty: bool) -> PartWriter:  # noqa: A002 - the option's name
    """Return the writer of a format.

    Args:
        format: "parquet" or "npy".
        dimensions: length of each vector.
        metadata: facts about all rows, for instance the model; written into each Parquet file.
        has_uncertainty: whether the parts have the column `uncertainty`.

    Raises:
        ValueError: the format is unknown.
        ImportError: the extra `embedwire[batch]` is not installed.
    """
    if format == "parquet":
        from embedwire.batch.parquet_parts import ParquetParts  # noqa: PLC0415 - pyarrow is slow to import

        return ParquetParts(dimensions, metadata=metadata, has_uncertainty=has_uncertainty)
    if format == "npy":
        from embedwire.batch.npy_parts import NpyParts  # noqa: PLC0415 - as above

        return NpyParts(dimensions, has_uncertainty=has_uncertainty)
    raise ValueError(f"format: must be 'parquet' or 'npy', got {format!r}")


def part_name(number: int, suffix: str) -> str:
    """Return the name of a part file, for instance "part-00000.parquet"."""
    return f"part-{number:05d}{suffix}"


class PartFile(NamedTuple):
    """A file of a part.

    Attributes:
        path: the file.
        number: number of the part.
        is_temporary: whether it was not complete when its writer ended.
    """

    path: Path
    number: int
    is_temporary: bool


def found(folder: Path) -> list[PartFile]:
    """Return the files of parts in a folder, in the order of their names; other files are left out.

    Raises:
        OSError: the folder cannot be read.
    """
    matches = ((path, _OWN_FILE.fullmatch(path.name)) for path in sorted(folder.iterdir()))
    return [PartFile(path, int(match[1]), bool(match[2])) for path, match in matches if match]


def size(folder: Path, number: int) -> int:
    """Return the size of a part in bytes: that of all its files.

    Raises:
        OSError: a file cannot be read.
    """
    return sum(file.path.stat().st_size for file in found(folder) if file.number == number and not file.is_temporary)


def grouped(rows: Iterator[Row], dimensions: int) -> Iterator[list[Row]]:
    """Yield the rows in groups whose vectors have about 2 MiB.

    Raises:
        ValueError: a vector has another length than the dimensions.
    """
    size = 4 * dimensions
    count = max(1, _GROUP_BYTES // size)
    while group := list(itertools.islice(rows, count)):
        for row in group:
            if len(row.vector) != size or len(row.uncertainty or row.vector) != size:
                raise ValueError(f"vector: has {len(row.vector) // 4} dimensions, but this output has {dimensions}")
        yield group


def joined_vectors(rows: Sequence[Row]) -> bytes:
    """Return the vectors of the rows, of shape (rows, dimensions)."""
    return b"".join(row.vector for row in rows)


def joined_uncertainties(rows: Sequence[Row], dimensions: int) -> bytes:
    """Return the uncertainties of the rows, of shape (rows, dimensions), with NaN for those without."""
    missing = _NAN * dimensions
    return b"".join(missing if row.uncertainty is None else row.uncertainty for row in rows)
