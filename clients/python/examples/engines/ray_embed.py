"""Embed the column `text` of a Parquet file with Ray Data. After a kill, the same command resumes.

python ray_embed.py texts.parquet embeddings dns:///embeddings.internal:50051

The output is a folder of Parquet files: key, vector (fixed-size list of float32), error. Keys must be unique. The folder
`embeddings.checkpoint` has the keys of the output; keep it as long as that.
"""

import argparse
import os
import time
from collections.abc import Sequence
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


def columns(batch: pa.Table, target: str, dimensions: int) -> pa.Table:
    """Return the columns of the output."""
    with Client(target, wait_for_ready=True) as client:
        rows = embed(client, batch["text"].to_pylist())
    values = np.concatenate([np.full(dimensions, np.nan, np.float32) if error else vector for vector, error in rows])
    vectors = pa.FixedSizeListArray.from_arrays(values, dimensions)  # nan, since Arrow cannot read nulls among them
    return pa.table({"key": batch["key"], "vector": vectors, "error": pa.array([error for _, error in rows], pa.string())})


def main() -> None:
    """Embed the texts whose keys the checkpoint does not have."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("input", "output", "target"):
        parser.add_argument(name)
    parser.add_argument("--rows", type=int, default=1000, help="rows of a file")
    options = parser.parse_args()
    with Client(options.target) as client:
        dimensions = {model.name: model.dimensions for model in client.models()}[MODEL]
    # Less than 8 CPUs hang: a checkpoint takes several, and most of its tasks only wait. A cluster has its own number.
    ray.init(num_cpus=None if "RAY_ADDRESS" in os.environ else 8, include_dashboard=False)
    ray.data.DataContext.get_current().checkpoint_config = ray.data.checkpoint.CheckpointConfig(
        "key", os.path.abspath(options.output) + ".checkpoint", delete_checkpoint_on_success=False
    )
    texts = ray.data.read_parquet(options.input).select_columns(["key", "text"])
    texts.repartition(target_num_rows_per_block=options.rows).map_batches(
        columns,
        fn_kwargs={"target": options.target, "dimensions": dimensions},
        batch_size=options.rows,
        batch_format="pyarrow",
        concurrency=2,
    ).write_parquet(options.output)


if __name__ == "__main__":
    main()
