"""Part files in the format of numpy, with the other columns in a file of JSON lines beside it."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from embedwire.batch.atomic_files import replacing
from embedwire.batch.parts import Row, grouped, joined_uncertainties, joined_vectors, part_name


class NpyParts:
    """Writer of parts of several files (see `PartWriter`), which have the same number of rows.

    - `part-00000.npy`: vectors, little-endian float32, of shape (rows, dimensions). It is renamed last: if it is there,
      the part is complete.
    - `part-00000.jsonl`: the other columns, one JSON object for each row.
    - `uncertainty-00000.npy`: uncertainties, as the vectors; NaN in rows without them.

    Args:
        dimensions: length of each vector.
        has_uncertainty: whether uncertainties are written.
    """

    suffix = ".npy"

    def __init__(self, dimensions: int, *, has_uncertainty: bool) -> None:
        self._dimensions = dimensions
        self._has_uncertainty = has_uncertainty

    def write(self, folder: Path, number: int, rows: Iterator[Row]) -> None:
        """Write one part (see `PartWriter`)."""
        with contextlib.ExitStack() as stack:
            vectors = stack.enter_context(self._array(folder / part_name(number, self.suffix)))
            lines = stack.enter_context(replacing(folder / part_name(number, ".jsonl")))
            uncertainties = None
            if self._has_uncertainty:
                uncertainties = stack.enter_context(self._array(folder / f"uncertainty-{number:05d}.npy"))
            for group in grouped(rows, self._dimensions):
                vectors.write(joined_vectors(group))
                lines.write(b"".join(_line(row) for row in group))
                if uncertainties:
                    uncertainties.write(joined_uncertainties(group, self._dimensions))

    @contextlib.contextmanager
    def _array(self, path: Path) -> Iterator[IO[bytes]]:
        """Open an array. The number of rows is known at the end; the header has space for any."""
        with replacing(path) as file:
            self._write_header(file, 0)
            start = file.tell()
            yield file
            rows = (file.tell() - start) // (4 * self._dimensions)
            file.seek(0)
            self._write_header(file, rows)

    def _write_header(self, file: IO[bytes], rows: int) -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, self._dimensions)}
        np.lib.format.write_array_header_1_0(file, header)


def _line(row: Row) -> bytes:
    return json.dumps(row.facts(), ensure_ascii=False).encode(errors="backslashreplace") + b"\n"
