"""Embed the column `text` of a Parquet file with Daft. After a kill, the same command resumes.

python daft_embed.py texts.parquet embeddings dns:///embeddings.internal:50051 [ROWS OF A FILE]

The output is a folder of Parquet files: key, vector (fixed-size list of float32), error. Keys must be unique.
"""

import os
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("DO_NOT_TRACK", "1")  # no telemetry of Daft
import daft
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embedwire import Client, Text

MODEL = "marengo3.0"
TEMPORARY = {"", "DEADLINE_EXCEEDED", "UPSTREAM_RATE_LIMITED", "UPSTREAM_UNAVAILABLE", "UPSTREAM_TIMEOUT"}


def embed(client: Client, texts: Sequence[str | None]) -> list[tuple[Any, str | None]]:
    """Return the vector and the error of each text, one of which is None. Failures of other causes are raised."""
    rows: list[tuple[Any, str | None]] = [(None, None)] * len(texts)
    missing = dict(enumerate(texts))
    for pause in (1, 5, 25, 125, 0):
        numbers = list(missing)
        with client.map(MODEL, [Text(text or "") for text in missing.values()]) as embeddings:
            for embedding in embeddings:
                number, failure = numbers[embedding.result.input_index], embedding.failure
                if failure and failure.reason in TEMPORARY and pause:
                    continue
                if failure and failure.code != "INVALID_ARGUMENT":  # the text is not at fault
                    embedding.result.raise_for_failure()
                rows[number] = (None, str(failure)) if failure else (embedding.vector, None)
                del missing[number]
        if not missing:
            break
        time.sleep(pause)
    return rows


def table(keys: pa.Array | pa.ChunkedArray, rows: list[tuple[Any, str | None]], dimensions: int) -> pa.Table:
    """Return the columns of the output. Vectors of failures are NaN: Arrow cannot read nulls among fixed-size lists."""
    failed = np.full(dimensions, np.nan, np.float32)
    values = np.concatenate([failed if error else vector for vector, error in rows])
    errors = pa.array([error for _, error in rows], pa.string())
    return pa.table({"key": keys, "vector": pa.FixedSizeListArray.from_arrays(values, dimensions), "error": errors})


def main(source: str, output: str, target: str, rows_of_a_file: str = "1000") -> None:
    """Embed the texts whose keys the output does not have."""
    with Client(target) as client:
        dimensions = {model.name: model.dimensions for model in client.models()}[MODEL]
    folder = Path(output)
    folder.mkdir(exist_ok=True)

    @daft.cls(max_concurrency=2)
    class Worker:
        def __init__(self) -> None:
            self.client = Client(target, wait_for_ready=True)

        @daft.method.batch(return_dtype=daft.DataType.string())
        def write(self, keys: daft.Series, texts: daft.Series) -> list[str | None]:
            """Write a file and return the errors. Daft has no limit on batches that wait for a writer of its own."""
            rows = embed(self.client, texts.to_pylist())
            name = uuid.uuid5(uuid.NAMESPACE_OID, "|".join(keys.to_pylist()))  # the same if Daft repeats the batch
            pq.write_table(table(keys.to_arrow(), rows, dimensions), folder / f".{name}.incomplete")
            (folder / f".{name}.incomplete").rename(folder / f"{name}.parquet")
            return [error for _, error in rows]

    texts = daft.read_parquet(source).select("key", "text")
    if done := [str(path) for path in folder.glob("*.parquet")]:
        texts = texts.join(daft.read_parquet(done).select("key"), on="key", how="anti")
    texts.into_batches(int(rows_of_a_file)).select(Worker().write(daft.col("key"), daft.col("text"))).collect()


if __name__ == "__main__":
    main(*sys.argv[1:])
