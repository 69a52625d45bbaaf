"""Embed the column `text` of a Parquet file with Daft. After a kill, the same command resumes.

python daft_embed.py texts.parquet embeddings dns:///embeddings.internal:50051

The output is a folder of Parquet files: key, vector (fixed-size list of float32), error. Keys must be unique.
"""

import argparse
import os
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


def main() -> None:
    """Embed the texts whose keys the output does not have."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("input", "output", "target"):
        parser.add_argument(name)
    parser.add_argument("--rows", type=int, default=1000, help="rows of a file")
    options = parser.parse_args()
    with Client(options.target) as client:
        dimensions = {model.name: model.dimensions for model in client.models()}[MODEL]
    folder = Path(options.output)
    folder.mkdir(exist_ok=True)

    @daft.cls(max_concurrency=2)
    class Worker:
        def __init__(self) -> None:
            self.client = Client(options.target, wait_for_ready=True)

        @daft.method.batch(return_dtype=daft.DataType.string())
        def write(self, keys: daft.Series, texts: daft.Series) -> list[str]:
            """Write a file, which has its name when it is complete. Daft would queue batches for a writer without limit."""
            rows = embed(self.client, texts.to_pylist())
            values = np.concatenate([np.full(dimensions, np.nan, np.float32) if error else vector for vector, error in rows])
            vectors = pa.FixedSizeListArray.from_arrays(values, dimensions)  # nan, since Arrow cannot read nulls among them
            part = folder / f"{uuid.uuid4()}.incomplete"
            pq.write_table(pa.table({"key": keys.to_arrow(), "vector": vectors, "error": pa.array([error for _, error in rows], pa.string())}), part)
            part.rename(part.with_suffix(".parquet"))
            return [part.stem] * len(rows)

    texts = daft.read_parquet(options.input).select("key", "text")
    if done := [str(path) for path in folder.glob("*.parquet")]:
        texts = texts.join(daft.read_parquet(done).select("key"), on="key", how="anti")
    written = texts.into_batches(options.rows).select(Worker().write(daft.col("key"), daft.col("text")))
    print(written.count_rows(), "texts were embedded")


if __name__ == "__main__":
    main()
