"""Embed the column `text` of a Parquet dataset with Daft. After a kill, the same command resumes.

python daft_embed.py texts.parquet embeddings/ --target dns:///embeddings.internal:50051

The output is a folder of Parquet files: key, vector (fixed-size list of float32), error. Keys must be unique.
"""

import argparse
import os
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("DO_NOT_TRACK", "1")  # Daft reports its import otherwise
import daft
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embedwire import Client, Text

TEMPORARY = {"", "DEADLINE_EXCEEDED", "UPSTREAM_RATE_LIMITED", "UPSTREAM_UNAVAILABLE", "UPSTREAM_TIMEOUT"}


def embed(client: Client, model: str, texts: Sequence[str | None]) -> tuple[list[Any], list[str | None]]:
    """Return the vector and the error of each text; one of them is None. Other failures are raised."""
    vectors: list[Any] = [None] * len(texts)
    errors: list[str | None] = [None] * len(texts)
    missing = list(range(len(texts)))
    for pause in (1, 5, 25, 125, None):
        again = []
        with client.map(model, [Text(texts[index] or "") for index in missing]) as embeddings:
            for embedding in embeddings:
                index, failure = missing[embedding.result.input_index], embedding.failure
                if failure is None:
                    vectors[index] = embedding.vector
                elif failure.code == "INVALID_ARGUMENT":  # the text is at fault
                    errors[index] = str(failure)
                elif failure.reason in TEMPORARY and pause is not None:
                    again.append(index)
                else:
                    embedding.result.raise_for_failure()
        if not again or pause is None:
            break
        missing = again
        time.sleep(pause)
    return vectors, errors


def embedder(arguments: argparse.Namespace, dimensions: int) -> Callable[[daft.Expression], daft.Expression]:
    """Return the function of a column, with a client for each of its workers."""
    failed = np.full(dimensions, np.nan, np.float32)  # Arrow writes nulls of fixed-size lists, and cannot read them
    vector = daft.DataType.embedding(daft.DataType.float32(), dimensions)
    columns = daft.DataType.struct({"vector": vector, "error": daft.DataType.string()})

    @daft.cls(max_concurrency=arguments.workers)
    class Embedder:
        def __init__(self) -> None:
            self.client = Client(arguments.target, wait_for_ready=True)

        @daft.method.batch(return_dtype=columns, unnest=True)
        def embed(self, text: daft.Series) -> list[dict[str, Any]]:
            vectors, errors = embed(self.client, arguments.model, text.to_pylist())
            rows = zip(vectors, errors, strict=True)
            return [{"vector": failed if error else vector, "error": error} for vector, error in rows]

    return Embedder().embed


def write(batch: pa.RecordBatch, folder: Path) -> None:
    """Write a file that appears under its name when it is complete."""
    name = f"{uuid.uuid4()}.parquet"
    pq.write_table(pa.Table.from_batches([batch]), folder / f".{name}")
    (folder / f".{name}").replace(folder / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input")
    parser.add_argument("output", type=Path)
    parser.add_argument("--target", default="127.0.0.1:50051")
    parser.add_argument("--model", default="marengo3.0")
    parser.add_argument("--rows", type=int, default=1000, help="rows of a file")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with Client(arguments.target) as client:
        dimensions = {model.name: model.dimensions for model in client.models()}[arguments.model]
    arguments.output.mkdir(exist_ok=True)
    texts = daft.read_parquet(arguments.input).select("key", "text")
    if files := [str(path) for path in arguments.output.glob("[!.]*.parquet")]:
        texts = texts.join(daft.read_parquet(files).select("key"), on="key", how="anti")
    embeddings = texts.into_batches(arguments.rows).select("key", embedder(arguments, dimensions)(daft.col("text")))
    for batch in embeddings.to_arrow_iter(results_buffer_size=1):
        write(batch, arguments.output)


if __name__ == "__main__":
    main()
