"""Part files in Parquet: one row group for each few MiB of vectors."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from embedwire.batch.atomic_files import replacing
from embedwire.batch.parts import Row, grouped, joined_uncertainties, joined_vectors, part_name

try:
    import pyarrow as pa
    from pyarrow import parquet as pq
except ImportError as error:
    raise ImportError("Parquet files need pyarrow: pip install 'embedwire[batch]'") from error

_FACTS = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("modality", pa.string(), nullable=False),
        pa.field("segment_index", pa.int32(), nullable=False),
        pa.field("start_offset_sec", pa.float64()),
        pa.field("end_offset_sec", pa.float64()),
        pa.field("embedding_option", pa.string()),
        pa.field("embedding_scope", pa.string()),
        pa.field("media_duration_sec", pa.float64()),
        pa.field("truncated", pa.bool_()),
    ]
)
_VECTORS = ("vector", "uncertainty")
_ENCODED = ["modality", "embedding_option", "embedding_scope"]  # few values each: dictionary encoding


class ParquetParts:
    """Writer of Parquet parts (see `PartWriter`). Vectors are a list of fixed size, `fixed_size_list<float32>`.

    Args:
        dimensions: length of each vector.
        metadata: key-value metadata of each file.
        has_uncertainty: whether there is a column `uncertainty`.
    """

    suffix = ".parquet"

    def __init__(self, dimensions: int, *, metadata: Mapping[str, str], has_uncertainty: bool) -> None:
        self._dimensions = dimensions
        values = pa.list_(pa.field("element", pa.float32(), nullable=False), dimensions)
        schema = _FACTS.append(pa.field("vector", values, nullable=False))
        if has_uncertainty:  # no nulls: pyarrow before 26 cannot read them in lists of a fixed size
            schema = schema.append(pa.field("uncertainty", values, nullable=False))
        self._schema = schema.with_metadata(dict(metadata))

    def write(self, folder: Path, number: int, rows: Iterator[Row]) -> None:
        """Write one part (see `PartWriter`)."""
        with replacing(folder / part_name(number, self.suffix)) as file, self._writer(file) as parquet:
            for group in grouped(rows, self._dimensions):
                parquet.write_batch(self._batch(group))

    @contextlib.contextmanager
    def _writer(self, file: IO[bytes]) -> Iterator[Any]:
        writer = pq.ParquetWriter(
            file,
            self._schema,
            compression={name: "none" if name in _VECTORS else "zstd" for name in self._schema.names},
            use_dictionary=_ENCODED,
            write_statistics=_FACTS.names,  # those of vectors are of no use
        )
        try:
            yield writer
            writer.close()
        finally:
            writer.is_open = False  # else it would write to the closed file when it is collected

    def _batch(self, rows: Sequence[Row]) -> pa.RecordBatch:
        facts = [row.facts() for row in rows]
        columns = [pa.array([fact[field.name] for fact in facts], field.type) for field in _FACTS]
        columns.append(self._lists(joined_vectors(rows)))
        if "uncertainty" in self._schema.names:
            columns.append(self._lists(joined_uncertainties(rows, self._dimensions)))
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def _lists(self, data: bytes) -> pa.Array:
        """Return a column of vectors. The values are those of the bytes, bit by bit."""
        values = pa.Array.from_buffers(pa.float32(), len(data) // 4, [None, pa.py_buffer(data)])
        return pa.FixedSizeListArray.from_arrays(values, type=self._schema.field("vector").type)
