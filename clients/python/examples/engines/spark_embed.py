"""Embed the column `text` of a Parquet file with Spark. After a kill, the same command resumes.

spark-submit spark_embed.py texts.parquet embeddings dns:///embeddings.internal:50051 [ROWS OF A FILE]

The output is a folder of Parquet files: key, vector (array of float), error. Keys must be unique.
"""

import math
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession

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


def main(source: str, output: str, target: str, rows_of_a_file: str = "1000") -> None:
    """Embed the texts whose keys the output does not have."""
    with Client(target) as client:
        if MODEL not in [model.name for model in client.models()]:
            raise ValueError(f"the server has no model {MODEL}")

    def columns(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        with Client(target, wait_for_ready=True) as client:
            for batch in batches:
                rows = pd.DataFrame(embed(client, list(batch["text"])), columns=["vector", "error"])
                yield rows.assign(key=batch["key"])

    schema = "key string, vector array<float>, error string"
    # Version 2 moves a file into the output when its task is complete, version 1 when all tasks are.
    version = "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version"
    spark = SparkSession.builder.config(version, "2").getOrCreate()
    texts = spark.read.parquet(source).select("key", "text")
    try:
        done = spark.read.schema(schema).parquet(output)
    except AnalysisException as error:
        if error.getCondition() != "PATH_NOT_FOUND":
            raise
    else:
        texts = texts.join(done, "key", "left_anti")
    files = max(1, math.ceil(texts.count() / int(rows_of_a_file)))
    texts.repartition(files).mapInPandas(columns, schema).write.mode("append").parquet(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
