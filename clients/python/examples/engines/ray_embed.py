"""Embed the column `text` of a Parquet file with Ray Data. After a kill, the same command resumes.

python ray_embed.py texts.parquet embeddings dns:///embeddings.internal:50051 [ROWS OF A FILE]

The output is a folder of Parquet files: key, vector (fixed-size list of float32), error. Keys must be unique. The
folder `embeddings.checkpoint` has the keys of the output; keep it as long as that.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry of Ray
import numpy as np
import pyarrow as pa
import ray

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
    """Embed the texts whose keys the checkpoint does not have."""
    with Client(target) as client:
        dimensions = {model.name: model.dimensions for model in client.models()}[MODEL]

    def columns(batch: pa.Table) -> pa.Table:
        with Client(target, wait_for_ready=True) as client:
            return table(batch["key"], embed(client, batch["text"].to_pylist()), dimensions)

    # With 2 CPUs, loading a checkpoint hangs; its tasks mostly wait. A cluster has its own number.
    ray.init(num_cpus=None if "RAY_ADDRESS" in os.environ else 8, include_dashboard=False)
    ray.data.DataContext.get_current().checkpoint_config = ray.data.checkpoint.CheckpointConfig(
        "key", f"{Path(output).resolve()}.checkpoint", delete_checkpoint_on_success=False
    )
    texts = ray.data.read_parquet(source).select_columns(["key", "text"])
    texts = texts.repartition(target_num_rows_per_block=int(rows_of_a_file))
    # With the same number of tasks for both, one task embeds a batch and writes it.
    tasks = ray.data.TaskPoolStrategy(size=2)
    embeddings = texts.map_batches(columns, batch_size=None, batch_format="pyarrow", compute=tasks)
    embeddings.write_parquet(output, concurrency=2)


if __name__ == "__main__":
    main(*sys.argv[1:])
