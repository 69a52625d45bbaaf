"""The output of a batch: what a user reads, compared with what the inputs require."""

import contextlib
import dataclasses
import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds

from embedwire.batch.ledger import State
from tests.system.batch_inputs import Inputs
from tests.system.batch_upstream import DIMENSIONS, SEGMENTS, vector
from tests.system.verdict import Verdict

_COLUMNS = ("key", "modality", "segment_index")


@dataclasses.dataclass
class Found:
    """The content of the dataset.

    Attributes:
        rows: number of rows of each key, modality and segment.
        wrong: keys with a vector that is not that of their content.
        part: part file of each key.
        divided: keys with rows in several part files.
    """

    rows: Counter[tuple[str, str, int]] = dataclasses.field(default_factory=Counter)
    wrong: set[str] = dataclasses.field(default_factory=set)
    part: dict[str, str] = dataclasses.field(default_factory=dict)
    divided: set[str] = dataclasses.field(default_factory=set)

    @property
    def parts(self) -> int:
        return len(set(self.part.values()))


def read(output: Path, inputs: Inputs) -> Found:
    """Read the Parquet files as a dataset, and compare each vector."""
    found = Found()
    for fragment in ds.dataset(output / "embeddings", format="parquet").get_fragments():
        for batch in fragment.to_batches(columns=[*_COLUMNS, "vector"]):
            columns = [batch.column(name).to_pylist() for name in _COLUMNS]
            vectors = batch.column("vector").flatten().to_numpy().reshape(-1, DIMENSIONS)
            for key, modality, index, values in zip(*columns, vectors, strict=True):
                found.rows[key, modality, index] += 1
                if found.part.setdefault(key, fragment.path) != fragment.path:
                    found.divided.add(key)
                if key in inputs.embedded and not np.array_equal(values, vector(inputs.embedded[key].identity, index)):
                    found.wrong.add(key)
    return found


def check(verdict: Verdict, output: Path, inputs: Inputs) -> int:
    """Check that each input is embedded exactly once, with its own vectors, or is in the failures file with a reason.

    Returns:
        The number of part files.
    """
    found = read(output, inputs)
    expected = Counter(
        (key, one.modality, index) for key, one in inputs.embedded.items() for index in range(SEGMENTS[one.modality])
    )
    count = len(inputs.embedded)
    once = count - len(
        {key for key, _, _ in (expected - found.rows) + (found.rows - expected)} & inputs.embedded.keys()
    )
    verdict.exactly(f"of {count} inputs exactly once in the output", once, count)
    verdict.exactly("other rows", (found.rows - expected).total(), 0)
    verdict.exactly("with another vector", len(found.wrong), 0)
    verdict.exactly("in several parts", len(found.divided), 0)
    failed = Counter(failure["key"] for failure in failures(output) if failure["reason"] and failure["message"])
    verdict.exactly("failures with a reason", failed.total(), len(inputs.broken))
    if inputs.broken:
        verdict.exactly("of broken inputs", len(failed.keys() & inputs.broken), len(inputs.broken))
    return found.parts


def failures(output: Path) -> list[dict[str, str]]:
    """Return the lines of the failures file."""
    with (output / "failures.jsonl").open() as file:
        return [json.loads(line) for line in file]


def completed(output: Path) -> set[str]:
    """Return the keys that the ledger of a killed run has as embedded."""
    return _keys(output, f"SELECT key FROM inputs WHERE state = {State.EMBEDDED:d}")


def tasks(output: Path) -> set[str]:
    """Return the keys for which the ledger of a killed run has a task."""
    return _keys(output, "SELECT key FROM tasks")


def _keys(output: Path, query: str) -> set[str]:
    """Return keys of the ledger. It is copied, so that it stays as it was."""
    with tempfile.TemporaryDirectory() as folder:
        for file in output.glob("ledger.sqlite*"):
            shutil.copy(file, folder)
        with contextlib.closing(sqlite3.connect(Path(folder) / "ledger.sqlite")) as ledger:
            return {key for (key,) in ledger.execute(query)}
