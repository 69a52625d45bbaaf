"""Load the output of `embedwire batch` into Qdrant, or search it by a text.

    python qdrant_sink.py DIR http://127.0.0.1:6333
    python qdrant_sink.py DIR http://127.0.0.1:6333 --search "a red fox in the snow"

In place of a URL, a path is a store in this process, for experiments with less than 20,000 rows.
A row that is loaded again replaces itself: run it again after an interruption, or when the batch has written more.
Needs: pip install 'embedwire[numpy]' qdrant-client pyarrow
"""

import argparse
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyarrow import dataset, parquet
from qdrant_client import QdrantClient, models

from embedwire import Client, Text

ROWS = 256  # in memory at a time, and in one request: 0.5 MiB of vectors of 512 dimensions


def load(folder: Path, qdrant: QdrantClient) -> None:
    """Insert the rows of all parts into the collection of their model, or replace them. The memory is constant."""
    model, dimensions = describe(folder)
    if not qdrant.collection_exists(model):
        qdrant.create_collection(model, models.VectorParams(size=dimensions, distance=models.Distance.COSINE))
    for part in sorted((folder / "embeddings").glob("part-*.parquet")):
        for points in batches(part):
            qdrant.upsert(model, points)
    print(f"{qdrant.count(model).count} points in the collection {model}")


def describe(folder: Path) -> tuple[str, int]:
    """Return model and dimensions of the vectors. Vectors of different models cannot be compared."""
    schema = dataset.dataset(folder / "embeddings", format="parquet").schema
    return schema.metadata[b"embedwire.model"].decode(), schema.field("vector").type.list_size


def batches(part: Path) -> Iterator[list[models.PointStruct]]:
    """Yield the points of a part."""
    for rows in parquet.ParquetFile(part).iter_batches(ROWS):
        yield [point(row) for row in rows.to_pylist()]


def point(row: dict[str, Any]) -> models.PointStruct:
    """Return the point of a row. Its id depends on the key and the segment only."""
    identifier = uuid.uuid5(uuid.NAMESPACE_URL, f"{row['key']}#{row['segment_index']}")
    payload = {name: value for name, value in row.items() if name not in {"vector", "uncertainty"}}
    return models.PointStruct(id=str(identifier), vector=row["vector"], payload=payload)


def search(folder: Path, qdrant: QdrantClient, text: str, target: str) -> None:
    """Print the nearest points by cosine similarity: 1 for the same direction."""
    model, dimensions = describe(folder)
    with Client(target) as client:
        vector = client.embed(model, Text(text), dimensions=dimensions).vector
    for found in qdrant.query_points(model, vector.tolist(), limit=5).points:
        row = found.payload or {}
        print(f"{found.score:.3f} {row['key']} {row['segment_index']} {row['start_offset_sec'] or 0:g} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("qdrant")
    parser.add_argument("--search", metavar="TEXT")
    parser.add_argument("--target", default="127.0.0.1:50051")
    given = parser.parse_args()
    connection = QdrantClient(given.qdrant) if "://" in given.qdrant else QdrantClient(path=given.qdrant)
    if given.search:
        search(given.folder, connection, given.search, given.target)
    else:
        load(given.folder, connection)
    connection.close()
