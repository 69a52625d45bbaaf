"""Load the output of `embedwire batch` into LanceDB, or search it by a text.

    python lancedb_sink.py DIR DATABASE
    python lancedb_sink.py DIR DATABASE --search "a red fox in the snow"

A row that is loaded again replaces itself: run it again after an interruption, or when the batch has written more.
Needs: pip install 'embedwire[numpy]' lancedb pyarrow
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import lancedb
import pyarrow as pa
from pyarrow import dataset, parquet

from embedwire import Client, Text

ROWS = 8192  # in memory at a time, and in one transaction


def load(folder: Path, database: str) -> None:
    """Insert the rows of all parts into the table of their model, or replace them. The memory is constant."""
    model, schema = describe(folder)
    connection = lancedb.connect(database)
    try:
        table = connection.open_table(model)
    except ValueError:  # there is none yet
        table = connection.create_table(model, schema=schema)
    for rows in batches(folder):
        merge = table.merge_insert(["key", "segment_index"])  # identifies a row
        merge.when_matched_update_all().when_not_matched_insert_all().execute(rows)
    table.optimize()  # merges the small files of the transactions
    print(f"{table.count_rows()} rows in the table {model}")


def describe(folder: Path) -> tuple[str, pa.Schema]:
    """Return the model of the vectors and the schema. Vectors of different models cannot be compared."""
    schema = dataset.dataset(folder / "embeddings", format="parquet").schema
    return schema.metadata[b"embedwire.model"].decode(), schema


def batches(folder: Path) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the complete parts."""
    for part in sorted((folder / "embeddings").glob("part-*.parquet")):
        yield from parquet.ParquetFile(part).iter_batches(ROWS)


def search(folder: Path, database: str, text: str, target: str) -> None:
    """Print the nearest rows by cosine distance: 0 for the same direction."""
    model, schema = describe(folder)
    with Client(target) as client:
        vector = client.embed(model, Text(text), dimensions=schema.field("vector").type.list_size).vector
    columns = ["key", "segment_index", "start_offset_sec", "_distance"]
    table = lancedb.connect(database).open_table(model)
    for row in table.search(vector).distance_type("cosine").select(columns).limit(5).to_list():
        print(f"{row['_distance']:.3f} {row['key']} {row['segment_index']} {row['start_offset_sec'] or 0:g} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("database")
    parser.add_argument("--search", metavar="TEXT")
    parser.add_argument("--target", default="127.0.0.1:50051")
    given = parser.parse_args()
    if given.search:
        search(given.folder, given.database, given.search, given.target)
    else:
        load(given.folder, given.database)
